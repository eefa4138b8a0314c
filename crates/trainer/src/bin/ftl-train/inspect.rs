//! `ftl-train inspect`: what a model or adapter directory holds.

use std::path::PathBuf;

use ftl_trainer::inspect::{Adapter, Inspected, Model, TokenizerFacts, Weights, inspect};
use serde_json::Value;

use crate::output::{CommandResult, Ended, Format, print};

/// Flags of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model directory, or a PEFT adapter directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let inspected = inspect(&args.dir)?;
    match (format, inspected) {
        (Format::Json, inspected) => {
            print(&serde_json::to_string(&inspected).expect("what was found is plain data"));
        }
        (Format::Text, Inspected::Model(model)) => print(&model_text(&model)),
        (Format::Text, Inspected::Adapter(adapter)) => print(&adapter_text(&adapter)),
    }
    Ok(Ended::Done)
}

fn model_text(model: &Model) -> String {
    let mut lines = vec![
        line("architecture", &format!("{} ({})", model.architecture, model.model_type)),
        line("parameters", &in_thousands(model.parameters)),
        line("weights", &model.weights.as_ref().map_or_else(|| "none".to_owned(), weights_text)),
        line("context", &format!("{} tokens", model.context_tokens)),
        line("vocabulary", &format!("{} tokens", model.vocab_size)),
        line(
            "shape",
            &format!(
                "{} layers, hidden {}, MLP {}, {} heads of {} ({} for keys and values)",
                model.n_layers,
                model.hidden_size,
                model.intermediate_size,
                model.n_heads,
                model.head_dim,
                model.n_kv_heads
            ),
        ),
        line("head", if model.tied_embeddings { "tied to the embedding" } else { "separate" }),
        line("LoRA targets", &model.lora_targets.join(", ")),
    ];
    match &model.tokenizer {
        None => lines.push(line("tokenizer", "none")),
        Some(TokenizerFacts { vocab_size, special_tokens, stop_ids, chat_template }) => {
            lines.push(line("tokenizer", &format!("{vocab_size} tokens")));
            let named = special_tokens.iter().map(|(name, token)| match token {
                Value::String(token) => format!("{name} {token}"),
                other => format!("{name} {other}"),
            });
            lines.push(line("special tokens", &named.collect::<Vec<_>>().join(", ")));
            let ids: Vec<String> = stop_ids.iter().map(u32::to_string).collect();
            lines.push(line("ends a text", &ids.join(", ")));
            lines.push(line("chat template", chat_template.as_deref().unwrap_or("none")));
        }
    }
    lines.join("\n")
}

fn weights_text(weights: &Weights) -> String {
    let Weights { n_files, bytes_by_dtype, bytes: _ } = weights;
    let by_dtype =
        bytes_by_dtype.iter().map(|(dtype, bytes)| format!("{} bytes {dtype}", in_thousands(*bytes)));
    let files = if *n_files == 1 { "1 file".to_owned() } else { format!("{n_files} files") };
    format!("{} in {files}", by_dtype.collect::<Vec<_>>().join(", "))
}

fn adapter_text(adapter: &Adapter) -> String {
    let Adapter { r, lora_alpha, target_modules, base_model, parameters, bytes } = adapter;
    [
        line("adapter", &format!("LoRA, rank {r}, alpha {lora_alpha}")),
        line("targets", &target_modules.join(", ")),
        line("made for", base_model.as_deref().unwrap_or("not said")),
        line("parameters", &format!("{} ({} bytes)", in_thousands(*parameters), in_thousands(*bytes))),
    ]
    .join("\n")
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<15} {value}")
}

/// `1234567` as `1,234,567`.
fn in_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
