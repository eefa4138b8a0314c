//! `ftl models`: models that the service knows. Their files stay where they are.

use std::path::{Path, PathBuf};

use ftl_client::terminal::{Align, Table, bytes, count};
use ftl_core::model::{Model, ModelFacts, ModelSource};
use serde_json::json;

use crate::confirm::{Answer, ConfirmArgs};
use crate::connection::Context;
use crate::output::{CommandResult, Ended, Format, note, print_fields, print_json, print_table};
use crate::pages::all;
use crate::remove::Report;
use crate::speak::absolute_text;
use crate::{find, remove};

/// What to do with models. A MODEL is an id, the beginning of one (with or without `model-`), or a name.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List imported models and those in the Hugging Face cache.
    #[command(visible_alias = "list")]
    Ls,
    /// Have the service look at a model directory and remember what it found.
    Import(ImportArgs),
    /// Look at a model as it is now.
    Inspect(InspectArgs),
    /// Forget imported models; their files stay.
    Rm(RemoveArgs),
}

/// Flags of `models import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// A Hugging Face model directory.
    path: PathBuf,
    /// What to call it. Default: the directory's name.
    #[arg(long)]
    name: Option<String>,
}

/// Flags of `models inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// A directory, the id or name of an imported model, or `org/name` of the Hugging Face cache.
    model: String,
}

/// Flags of `models rm`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Ids, beginnings of ids (with or without `model-`), or names.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Runs it.
pub async fn run(command: Command, context: &Context) -> CommandResult {
    match command {
        Command::Ls => list(context).await,
        Command::Import(args) => import(args, context).await,
        Command::Inspect(args) => inspect(args, context).await,
        Command::Rm(args) => forget(args, context).await,
    }
}

async fn list(context: &Context) -> CommandResult {
    let client = context.client().await?;
    let models = all(async |page| client.models(&page).await).await?;
    match context.format {
        Format::Json => print_json(&json!({"models": models}))?,
        Format::Text if models.is_empty() => note("no models; `ftl models import DIR` adds one"),
        Format::Text => {
            let mut table = Table::new(&[
                ("ID", Align::Left),
                ("NAME", Align::Left),
                ("TYPE", Align::Left),
                ("PARAMETERS", Align::Right),
                ("SIZE", Align::Right),
                ("PATH", Align::Left),
            ]);
            for Model { name, path, source } in &models {
                let (id, facts) = match source {
                    ModelSource::Imported { id, facts, created_unix_ms: _ } => (id.as_str(), Some(facts)),
                    ModelSource::HuggingFaceCache { revision: _ } => ("(cache)", None),
                };
                let size = facts.and_then(|facts| facts.weight_bytes);
                table.row([
                    id.into(),
                    name.into(),
                    facts.map(|facts| facts.model_type.clone()).unwrap_or_default().into(),
                    facts.map(|facts| count(facts.parameters)).unwrap_or_default().into(),
                    size.map(bytes).unwrap_or_default().into(),
                    path.display().to_string().into(),
                ]);
            }
            print_table(&table)?;
        }
    }
    Ok(Ended::Done)
}

async fn import(args: ImportArgs, context: &Context) -> CommandResult {
    let ImportArgs { path, name } = args;
    let path = std::path::absolute(path)?;
    let client = context.client().await?;
    let model = client.import_model(&path, name.as_deref()).await?;
    match context.format {
        Format::Json => print_json(&json!({"model": model}))?,
        Format::Text => {
            let Model { name, path, source } = &model;
            let mut fields = vec![("name", name.clone()), ("path", path.display().to_string())];
            match source {
                ModelSource::Imported { id, facts, created_unix_ms: _ } => {
                    fields.insert(0, ("id", id.to_string()));
                    fields.extend(fact_fields(facts));
                    print_fields(&fields)?;
                    note(&format!("name it in a spec as `model.path = \"{id}\"`"));
                }
                ModelSource::HuggingFaceCache { revision } => {
                    fields.push(("revision", revision.clone()));
                    print_fields(&fields)?;
                }
            }
        }
    }
    Ok(Ended::Done)
}

async fn inspect(args: InspectArgs, context: &Context) -> CommandResult {
    let InspectArgs { model } = args;
    let client = context.client().await?;
    let path = Path::new(&model);
    let meant = if path.is_dir() {
        absolute_text(path)?
    } else {
        // What is no imported model may be in the cache; the service knows.
        find::imported_model(&client, &model).await?.map_or(model, |id| id.to_string())
    };
    let (path, facts) = client.inspect_model(&meant).await?;
    match context.format {
        Format::Json => print_json(&json!({"path": path, "facts": facts}))?,
        Format::Text => {
            let mut fields = vec![("path", path.display().to_string())];
            fields.extend(fact_fields(&facts));
            print_fields(&fields)?;
        }
    }
    Ok(Ended::Done)
}

fn fact_fields(facts: &ModelFacts) -> Vec<(&'static str, String)> {
    let ModelFacts {
        architecture,
        model_type,
        parameters,
        weight_bytes,
        context_tokens,
        vocab_size,
        n_layers,
        hidden_size,
        lora_targets,
        chat_template,
    } = facts;
    vec![
        ("architecture", format!("{architecture} ({model_type})")),
        ("parameters", count(*parameters)),
        ("weights", weight_bytes.map_or_else(|| "none, only a config.json".to_owned(), bytes)),
        ("context", format!("{} tokens", count(*context_tokens))),
        ("vocabulary", count(*vocab_size)),
        ("layers", format!("{n_layers} of width {}", count(*hidden_size))),
        ("LoRA targets", lora_targets.join(", ")),
        ("chat template", chat_template.clone().unwrap_or_else(|| "none".to_owned())),
    ]
}

async fn forget(args: RemoveArgs, context: &Context) -> CommandResult {
    let RemoveArgs { models, confirm } = args;
    let client = context.client().await?;
    let mut ids = Vec::new();
    for text in &models {
        remove::once(&mut ids, find::model(&client, text).await?);
    }
    if confirm.ask(&format!("forget {}? The files stay.", remove::listed(&ids)))? == Answer::No {
        note("nothing was forgotten");
        return Ok(Ended::Negative);
    }
    let mut report = Report::new(context.format);
    for id in &ids {
        report.take(id, client.delete_model(id).await, "forgotten")?;
    }
    report.end_removed()
}
