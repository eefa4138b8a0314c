//! `final/`: the trained weights with all that belongs to them, and a model card.

use std::fmt::Write;
use std::path::PathBuf;

use ftl_core::metrics::{Evaluated, Rewards};
use ftl_core::{Problem, ProblemKind};

use crate::checkpoint::layout::{FINAL, FTL_STATE_JSON, README_MD};
use crate::checkpoint::verify;
use crate::checkpoint::{save, write_file};
use crate::error::TrainError;
use crate::export::checkpoint::copy_weights;
use crate::model::json_file;
use crate::train::best;
use crate::train::run::Run;
use crate::train::snapshot::write_weights;

/// Writes the result and reads it back.
pub(super) fn write_final(run: &Run<'_, '_>) -> Result<PathBuf, TrainError> {
    let best = best::checkpoint(run.spec, (run.out, run.step), &run.scores);
    best::check(best.as_deref())?;
    let saved = save(run.out, FINAL, |dir| {
        match &best {
            Some(checkpoint) => copy_weights(checkpoint, dir)?,
            None => write_weights(dir, &run.decoder, run.adapter.as_ref(), run.spec)?,
        }
        json_file::write(&dir.join(FTL_STATE_JSON), &run.state())?;
        write_file(&dir.join(README_MD), card(run).as_bytes())
    })?;
    verify(&saved.path)
        .map_err(|problem: Problem| Problem { kind: ProblemKind::BrokenCheckpoint, ..problem })?;
    Ok(saved.path)
}

/// The model card, in the Hugging Face layout.
fn card(run: &Run<'_, '_>) -> String {
    let base = run.spec.model.path.display();
    // A path may hold what YAML would read as syntax; a JSON string is a YAML string.
    let quoted = serde_json::Value::from(base.to_string());
    let name = &run.spec.name;
    let (tags, library) = match run.adapter {
        Some(_) => ("- lora\n- finetunelab", "peft"),
        None => ("- finetunelab", "transformers"),
    };
    let mut card = format!(
        "---\nbase_model: {quoted}\nlibrary_name: {library}\npipeline_tag: text-generation\ntags:\n{tags}\n---\n\n\
         # {name}\n\nTrained from `{base}` with FineTune Lab {}: {} steps, {} training samples.\n",
        env!("CARGO_PKG_VERSION"),
        run.step,
        run.data.train.len(),
    );
    let state = run.state();
    let evaluated = best::of_result(run.spec, &state);
    if let Some(Evaluated { step, .. }) = evaluated.filter(|evaluated| evaluated.step != run.step) {
        let _ = write!(card, "\nThe weights are those after step {step}, the best on the held-out data.\n");
    }
    if let Some(evaluated) = evaluated {
        let Evaluated { loss_nats, perplexity, token_accuracy, tokens, rewards, .. } = evaluated;
        let unit = if rewards.is_some() { "" } else { " nats per token" };
        let _ = write!(
            card,
            "\n| held-out | |\n|---|---|\n| loss | {loss_nats:.4}{unit} |\n| perplexity | {perplexity:.3} |\n\
             | token accuracy | {:.1} % |\n| tokens | {tokens} |\n",
            token_accuracy * 100.0
        );
        if let Some(Rewards { reward_margin, reward_accuracy, .. }) = rewards {
            let _ = write!(
                card,
                "| reward margin | {reward_margin:.3} |\n| reward accuracy | {:.1} % |\n",
                reward_accuracy * 100.0
            );
        }
    }
    let _ = write!(card, "\n## Spec\n\n```json\n{}\n```\n", run.spec.to_json().trim_end());
    card
}
