//! What `ftl-train` refuses: exit code 2, one clear message, and the problem as JSON. Damaged models are those of
//! `FTL_DATA`; without the variable their tests pass with a word.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod cli_support;

use std::fs;
use std::path::Path;

use cli_support::{from_env, ftl_train, refused};
use serde_json::json;
use tempfile::TempDir;

#[test]
fn damaged_models_are_refused_by_name() {
    for (name, expected) in [
        ("bad_offsets", "has an unsound header"),
        ("config_more_layers", "is empty (0 bytes)"),
        ("config_wrong_hidden", "is empty (0 bytes)"),
        ("huge_header", "is no safetensors file: its header would have 1152921504606846976 bytes"),
        ("lfs_pointer", "is a git-lfs pointer, not the file itself"),
        ("truncated", "is cut off: its header promises 1040128 bytes of tensors, the file has"),
    ] {
        let Some(dir) = from_env("FTL_DATA", &format!("dirty_models/{name}")) else { return };
        let temp = TempDir::new().unwrap();
        let ids = temp.path().join("ids.json");
        fs::write(&ids, json!({"input_ids": [[1, 2]]}).to_string()).unwrap();
        let inspect = refused([Path::new("inspect"), &dir]);
        let score = refused([Path::new("score"), Path::new("--model"), &dir, Path::new("--ids"), &ids]);
        assert_eq!(inspect, score);
        assert!(inspect.0.ends_with("model.safetensors"), "{}", inspect.0);
        assert!(inspect.1.starts_with(expected), "{name}: {}", inspect.1);
    }
}

#[test]
fn bad_rows_are_refused_by_number() {
    let Some(model) = from_env("FTL_DATA", "models/stories260K") else { return };
    let long = vec![1; 513];
    for (command, document, expected) in [
        (
            "score",
            json!({"input_ids": [[1, 2], [512, 1]]}),
            "row 1 has the id 512 at place 0; the vocabulary has 512 ids from 0",
        ),
        ("score", json!({"input_ids": [long]}), "row 0 has 513 tokens, more than the model's context of 512"),
        (
            "score",
            json!({"input_ids": [[1, 2]], "position_ids": [[0, 512]]}),
            "row 0 has the position 512, but the model's context ends at 511",
        ),
        ("score", json!({"input_ids": []}), "`input_ids` has no rows"),
        (
            "generate",
            json!({"input_ids": [long]}),
            "the prompt has 513 tokens and leaves no room in the model's context of 512",
        ),
        (
            "generate",
            json!({"input_ids": [[1, 2, 3]], "position_ids": [[0, 0, 1]]}),
            "row 0 has several segments; a prompt is one",
        ),
    ] {
        let temp = TempDir::new().unwrap();
        let ids = temp.path().join("ids.json");
        fs::write(&ids, document.to_string()).unwrap();
        let (_, message) =
            refused([Path::new(command), Path::new("--model"), &model, Path::new("--ids"), &ids]);
        assert_eq!(message, expected);
    }
}

#[test]
fn numbers_out_of_range_are_refused_by_flag() {
    let Some(model) = from_env("FTL_DATA", "models/stories260K") else { return };
    for (flag, value, field, expected) in [
        (
            "--temperature",
            "-1",
            "temperature",
            "a temperature of -1 is out of range; choose one above 0, or 0 for greedy",
        ),
        ("--top-p", "1.5", "top_p", "1.5 is no share of probability; choose one above 0 and up to 1"),
    ] {
        let args = ["generate", "--prompt", "Once", flag, value, "--model"].map(Path::new);
        let problem = refused(args.into_iter().chain([model.as_path()]));
        assert_eq!(problem, (field.to_owned(), expected.to_owned()));
    }
}

#[test]
fn messages_without_a_template_are_refused() {
    let Some(model) = from_env("FTL_DATA", "models/stories260K") else { return };
    let temp = TempDir::new().unwrap();
    let messages = temp.path().join("messages.json");
    fs::write(&messages, json!({"messages": [{"role": "user", "content": "Hi"}]}).to_string()).unwrap();
    for command in ["generate", "render"] {
        let args = [Path::new(command), Path::new("--model"), &model, Path::new("--messages"), &messages];
        assert_eq!(refused(args).1, "the model has no chat template, which messages need");
    }
}

#[test]
fn missing_files_are_refused() {
    let (field, message) = refused(["inspect", "/does/not/exist"]);
    assert_eq!((field.as_str(), message.as_str()), ("/does/not/exist", "is not a directory"));
}

#[test]
fn wrong_usage_is_a_problem_too() {
    let (_, message) = refused(["score", "--model", "x"]);
    assert!(message.starts_with("the following required arguments were not provided"), "{message}");
    let (_, message) = refused(["generate", "--model", "x", "--prompt", "y", "--device", "rocm"]);
    assert!(message.contains("`rocm` is not a device"), "{message}");
    let help = ftl_train(["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("score"));
}

#[test]
fn types_that_a_device_does_not_compute_in_are_refused() {
    let temp = TempDir::new().unwrap();
    let ids = temp.path().join("ids.json");
    fs::write(&ids, json!({"input_ids": [[1, 2]]}).to_string()).unwrap();
    for command in ["score", "bench"] {
        for dtype in ["bf16", "f16"] {
            let mut arguments: Vec<std::ffi::OsString> =
                vec![command.into(), "--model".into(), temp.path().into()];
            arguments.extend(["--device", "cpu", "--dtype", dtype].map(Into::into));
            if command == "score" {
                arguments.extend(["--ids".into(), ids.clone().into()]);
            }
            let (field, message) = refused(arguments);
            assert_eq!(field, "model.dtype", "{message}");
            assert_eq!(message, format!("the CPU computes in f32 only, not in `{dtype}`"));
        }
    }
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/configs/small30m");
    let arguments: Vec<std::ffi::OsString> = vec![
        "bench".into(),
        "--model".into(),
        model.into(),
        "--method".into(),
        "full".into(),
        "--quantization".into(),
        "nf4".into(),
    ];
    let (field, message) = refused(arguments);
    assert_eq!(field, "--quantization");
    assert_eq!(message, "quantized weights can't be trained, and `--method full` trains all of them");
}

#[test]
fn pairs_are_not_scored() {
    let Some(model) = from_env("FTL_DATA", "models/stories260K") else { return };
    let temp = TempDir::new().unwrap();
    let data = temp.path().join("pairs.jsonl");
    fs::write(&data, "{\"prompt\": \"Once\", \"chosen\": \" upon\", \"rejected\": \" more\"}\n").unwrap();
    let (field, message) =
        refused([Path::new("score"), Path::new("--model"), &model, Path::new("--data"), &data]);
    assert_eq!(field, data.to_str().unwrap());
    assert_eq!(message, "the data are pairs of a chosen and a rejected answer, which are not scored");
}
