//! `quantization_config`: whether quantized weights are stored in a form that is read. Which tensors are is found in
//! the files, not here.

use serde_json::Value;

/// Why weights that are quantized like this can't be read; `None`: they can.
pub(super) fn unreadable(config: &Value) -> Option<String> {
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let method = text("quant_method").unwrap_or("unknown");
    let refuse = |detail: &str| {
        Some(format!(
            "the weights are quantized (`quantization_config`, method `{method}`{detail}), which can't be read; only \
             bitsandbytes' `load_in_4bit` with `bnb_4bit_quant_type` = `nf4` can: use the model that this one was \
             made from"
        ))
    };
    if method != "bitsandbytes" {
        return refuse("");
    }
    if config.get("load_in_4bit").and_then(Value::as_bool) != Some(true) {
        return refuse(", not `load_in_4bit`");
    }
    // A missing key means `fp4` in transformers.
    match text("bnb_4bit_quant_type").unwrap_or("fp4") {
        "nf4" => {}
        other => return refuse(&format!(", `bnb_4bit_quant_type` = `{other}`")),
    }
    match text("bnb_4bit_quant_storage").unwrap_or("uint8") {
        "uint8" => None,
        other => refuse(&format!(", `bnb_4bit_quant_storage` = `{other}`")),
    }
}
