//! What a person who wrote an unknown name may have meant.

use serde_json::Value;

/// Names that other trainers have for a key or value of ours: LLaMA-Factory, Axolotl, TRL, Unsloth, mlx-lm, and
/// older versions of transformers.
const NAMES_ELSEWHERE: [(&str, &str); 36] = [
    ("alpha", "lora_alpha"),
    ("base_model", "model.path"),
    ("batch_size", "per_device_train_batch_size"),
    ("chat_template_jinja", "chat_template"),
    ("completion_only_loss", "assistant_only_loss"),
    ("cutoff_len", "max_length"),
    ("dataset", "data.train"),
    ("datasets", "data.train"),
    ("dropout", "lora_dropout"),
    ("epochs", "num_train_epochs"),
    ("eval_every", "eval_steps"),
    ("grad_accumulation_steps", "gradient_accumulation_steps"),
    ("iters", "max_steps"),
    ("load_in_4bit", "quantization.kind"),
    ("lora_r", "r"),
    ("lora_rank", "r"),
    ("lora_target", "target_modules"),
    ("lora_target_modules", "target_modules"),
    ("lr", "learning_rate"),
    ("lr_scheduler", "lr_scheduler_type"),
    ("max_seq_len", "max_length"),
    ("max_seq_length", "max_length"),
    ("micro_batch_size", "per_device_train_batch_size"),
    ("model_name_or_path", "model.path"),
    ("num_epochs", "num_train_epochs"),
    ("optimizer", "optim"),
    ("rank", "r"),
    ("sample_packing", "packing"),
    ("save_every", "save_steps"),
    ("sequence_len", "max_length"),
    ("torch_dtype", "dtype"),
    ("train_on_inputs", "assistant_only_loss"),
    ("val_set_size", "data.eval"),
    ("warmup_ratio", "warmup_steps"),
    ("adamw_torch", "adamw"),
    ("warmup_stable_decay", "wsd"),
];

/// The name of `known` that `name` is a slip of, or another trainer's word for.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    if let Some((_, ours)) = NAMES_ELSEWHERE.iter().find(|(theirs, _)| *theirs == name)
        && let Some(ours) = known.iter().find(|known| *known == ours)
    {
        return Some(ours);
    }
    // One slip in a short name, one in three letters of a longer one.
    let limit = (name.chars().count() / 3).max(1);
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name, &known.to_lowercase()), *known))
        .filter(|(distance, _)| *distance <= limit && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The full path of the key that is called `name` in another section, or that another trainer calls so.
pub(super) fn elsewhere(name: &str, schema: &Value) -> Option<String> {
    let paths = paths_of(schema);
    let ours = NAMES_ELSEWHERE.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| ours);
    paths.into_iter().find(|path| path == ours || path.rsplit('.').next() == Some(ours))
}

/// Every key of every section, with its section.
fn paths_of(schema: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for (section, section_schema) in properties(schema) {
        let target = resolved(section_schema, schema);
        paths.extend(properties(target).map(|(key, _)| format!("{section}.{key}")));
        paths.push(section.clone());
    }
    paths
}

/// The keys of a table's schema.
pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The schema behind a `$ref`.
pub(super) fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).expect("schemars only refers to definitions that it wrote"),
        None => schema,
    }
}
