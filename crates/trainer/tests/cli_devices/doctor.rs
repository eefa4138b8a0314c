//! `doctor`: what is there, what can be used, and what is missing, without starting CUDA.

use serde_json::{Value, json};

use crate::machine::Machine;

fn diagnosis(machine: &Machine) -> Value {
    let ended = machine.run(&["doctor", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn errors(diagnosis: &Value) -> Vec<String> {
    let findings = diagnosis["findings"].as_array().unwrap().iter();
    let errors = findings.filter(|finding| finding["level"] == "error");
    errors.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_whole_machine_can_train_on_its_card() {
    let machine = Machine::whole();
    let found = diagnosis(&machine);
    assert_eq!(found["devices"][0], "cuda:0");
    assert_eq!(errors(&found), Vec::<String>::new());
    let gpu = &found["cuda"]["driver"]["gpus"][0];
    assert_eq!((&gpu["compute_capability"], &gpu["compute_mode"]), (&json!("8.9"), &json!("shared")));
    let text = machine.run(&["doctor"]).stdout;
    assert!(text.contains("NVIDIA driver   580.1, CUDA 13.0\n"), "{text}");
    assert!(text.contains("Fake 3000, compute capability 8.9, 8.0 GiB of memory, 6.8 GiB free\n"), "{text}");
    assert!(text.contains("libnvrtc.so, version 13.0\n"), "{text}");
}

#[test]
fn what_keeps_a_card_from_training_is_an_error() {
    let whole = Machine::whole;
    let without_toolkit =
        || Machine::bare().with("libcuda", "libcuda.so").with("libnvidia-ml", "libnvidia-ml.so.1");
    let without_crt = without_toolkit().with("libnvrtc", "libnvrtc.so").with_headers_but(&["crt/mma.h"]);
    let crt = format!("the CUDA header `crt/mma.h` can't be found in `{}`", without_crt.include().display());
    for (machine, want) in [
        (without_crt, crt.as_str()),
        (without_toolkit().with_headers(), "NVRTC (libnvrtc.so), which compiles kernels, can't be found"),
        (without_toolkit().with("libnvrtc", "libnvrtc.so"), "the CUDA headers can't be found"),
        (
            Machine::bare().with("libnvidia-ml", "libnvidia-ml.so.1").with_toolkit(),
            "the driver's library libcuda.so can't be found",
        ),
        (
            whole().set("FAKE_CAPABILITY", "61"),
            "`Fake 3000` has compute capability 6.1, and 7.5 is the least",
        ),
        (
            whole().set("FAKE_FREE_MIB", "300"),
            "`Fake 3000` has only 300 MiB of 8192 MiB free, and 512 MiB is the least",
        ),
        (
            whole().set("FAKE_DRIVER", "12040"),
            "NVRTC 13.0 is newer than the driver, which supports CUDA 12.4",
        ),
    ] {
        let found = diagnosis(&machine);
        assert_eq!(errors(&found), [want]);
        assert!(!found["devices"].as_array().unwrap().contains(&json!("cuda:0")), "{want}");
    }
}
