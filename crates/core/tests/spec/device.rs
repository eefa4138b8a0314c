use ftl_core::spec::MaxMemory;
use ftl_core::spec::resolved::DeviceKind;
use serde_json::json;

use super::{lines, patched};

#[test]
fn memory_sizes_are_read_in_the_usual_units() {
    let problem = "is not an amount of memory; give bytes, or a number with one of the units B, kB, MB, GB, KiB, MiB, \
                   GiB, TiB, as in `8GiB`";
    for (text, bytes) in [
        ("8GiB", Some(8 << 30)),
        ("1.5 GiB", Some(3 << 29)),
        ("500 MB", Some(500_000_000)),
        ("12kb", Some(12_000)),
        ("8", None),
        ("0GiB", None),
        ("GiB", None),
        ("-1GiB", None),
        ("1e9 B", None),
        ("99999999999GiB", None),
        ("1.2.3GB", None),
        ("", None),
    ] {
        let amount = MaxMemory::Text(text.to_owned());
        match bytes {
            Some(bytes) => assert_eq!(amount.bytes(), Ok(bytes), "{text}"),
            None => assert_eq!(amount.bytes().expect_err(text).to_string(), format!("`{text}` {problem}")),
        }
    }
    let problems = patched(&json!({ "device": { "max_memory": "much" } })).check().expect_err("no amount");
    assert!(lines(&problems).contains(&format!("device.max_memory: `much` {problem}")));
    assert_eq!(
        MaxMemory::Bytes(1 << 63).bytes().expect_err("too much").to_string(),
        format!("`{}` {problem}", 1u64 << 63)
    );
}

#[test]
fn a_limit_of_memory_is_resolved_to_bytes() {
    let resolved = |amount| patched(&json!({ "device": { "max_memory": amount } })).check().expect("a spec");
    for amount in [json!("1.5 GiB"), json!(1_610_612_736_u64)] {
        let spec = resolved(amount);
        assert_eq!(spec.device.max_memory_bytes, Some(3 << 29));
        assert_eq!(spec.to_spec().device.max_memory, Some(MaxMemory::Bytes(3 << 29)));
        assert_eq!(spec.to_spec().check().expect("the same"), spec);
    }
    assert_eq!(patched(&json!({})).check().expect("a spec").device.max_memory_bytes, None);
}

#[test]
fn devices_are_read_as_they_are_written() {
    for (text, device, written) in [
        ("auto", DeviceKind::Auto, "auto"),
        ("cpu", DeviceKind::Cpu, "cpu"),
        ("cuda", DeviceKind::AnyCuda, "cuda"),
        ("cuda:1", DeviceKind::Cuda(1), "cuda:1"),
        ("vulkan", DeviceKind::Vulkan(0), "vulkan:0"),
        ("vulkan:2", DeviceKind::Vulkan(2), "vulkan:2"),
    ] {
        assert_eq!(text.parse(), Ok(device));
        assert_eq!(device.to_string(), written);
        assert_eq!(written.parse(), Ok(device));
    }
    for text in ["", "CPU", "auto:0", "cpu:", "cuda:", "cuda:x", "cuda:-1", "cuda:99999", "vulkan:", "rocm"] {
        assert_eq!(text.parse::<DeviceKind>().expect_err(text).message, format!("`{text}` is not a device"));
    }
}

#[test]
fn the_type_of_the_computation_is_left_to_the_device() {
    use ftl_core::spec::resolved::ModelDtype;

    for (text, dtype) in [
        (json!(null), ModelDtype::Auto),
        (json!("auto"), ModelDtype::Auto),
        (json!("bf16"), ModelDtype::Bf16),
        (json!("f16"), ModelDtype::F16),
        (json!("f32"), ModelDtype::F32),
    ] {
        let spec = patched(&json!({ "model": { "dtype": text } })).check().expect("a type");
        assert_eq!(spec.model.dtype, dtype, "{text}");
    }
}
