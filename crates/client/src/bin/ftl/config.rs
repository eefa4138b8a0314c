//! `ftl config`: specs that are kept for later, and specs to start from.

use clap::ValueEnum;
use ftl_client::ClientError;
use ftl_client::terminal::{Align, Table, age, clean, now_unix_ms};
use ftl_core::config::{Config, Preset};
use ftl_core::{JobSpec, PageRequest, Problem, ProblemKind};
use serde_json::json;

use crate::confirm::{Answer, ConfirmArgs};
use crate::connection::Context;
use crate::output::{CommandResult, Ended, Failure, Format, note, print, print_json, print_table};
use crate::pages::all;
use crate::remove::Report;
use crate::spec::SpecArgs;
use crate::{find, remove};

/// What to do with specs. A CONFIG is an id, the beginning of one (with or without `config-`), or a name.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Keep a spec under a name. It need not be complete.
    Save(SaveArgs),
    /// List kept specs, newest first.
    #[command(visible_alias = "list")]
    Ls,
    /// Print a kept spec.
    Show(ShowArgs),
    /// Forget kept specs.
    Rm(RemoveArgs),
    /// Keep a copy of a kept spec under another name.
    Clone(CloneArgs),
    /// Have the service judge a spec, without training.
    Validate(SpecArgs),
    /// List specs to start from, or print one.
    Presets(PresetArgs),
    /// Print the JSON Schema of a spec file.
    Schema,
}

/// Flags of `config save`.
#[derive(Debug, clap::Args)]
pub struct SaveArgs {
    /// What to call it.
    name: String,
    #[command(flatten)]
    spec: SpecArgs,
    /// Replace the kept spec of this name.
    #[arg(long)]
    replace: bool,
}

/// How a spec is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SpecFormat {
    /// As people write it.
    Toml,
    /// For programs.
    Json,
}

/// Flags of `config show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// An id, the beginning of one (with or without `config-`), or a name.
    config: String,
    /// How to print it.
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    format: SpecFormat,
}

/// Flags of `config rm`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Ids, beginnings of ids (with or without `config-`), or names.
    #[arg(required = true, value_name = "CONFIG")]
    configs: Vec<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Flags of `config clone`.
#[derive(Debug, clap::Args)]
pub struct CloneArgs {
    /// An id, the beginning of one (with or without `config-`), or a name.
    config: String,
    /// What to call the copy.
    name: String,
}

/// Flags of `config presets`.
#[derive(Debug, clap::Args)]
pub struct PresetArgs {
    /// Print this one as TOML.
    name: Option<String>,
}

/// Runs it.
pub async fn run(command: Command, context: &Context) -> CommandResult {
    match command {
        Command::Save(args) => save(args, context).await,
        Command::Ls => list(context).await,
        Command::Show(args) => show(args, context).await,
        Command::Rm(args) => forget(args, context).await,
        Command::Clone(args) => copy(args, context).await,
        Command::Validate(args) => validate(args, context).await,
        Command::Presets(args) => presets(args, context).await,
        Command::Schema => {
            // The service would print the same; this way none is started for it.
            print(&format!("{:#}", JobSpec::json_schema()))?;
            Ok(Ended::Done)
        }
    }
}

async fn save(args: SaveArgs, context: &Context) -> CommandResult {
    let SaveArgs { name, spec, replace } = args;
    let spec = spec.read(context).await?;
    let client = context.client().await?;
    let config = match client.create_config(&name, &spec).await {
        Err(ClientError::AlreadyExists(problem)) if !replace => {
            return Err(problem.hint("choose another name, or replace it with `--replace`").into());
        }
        Err(ClientError::AlreadyExists(_)) => {
            let configs = all(async |page: PageRequest| client.configs(&page).await).await?;
            let same = configs.into_iter().find(|config| config.name == name).ok_or_else(|| {
                let message = format!("the config `{name}` went away meanwhile");
                Failure::Failed(Problem::new(ProblemKind::NotFound, message).hint("try again"))
            })?;
            client.update_config(&same.id, &name, &spec).await?
        }
        answer => answer?,
    };
    tell(&config, context)
}

fn tell(config: &Config, context: &Context) -> CommandResult {
    match context.format {
        Format::Json => print_json(&json!({"config": config}))?,
        Format::Text => {
            print(&format!("{} {}", config.id, clean(&config.name)))?;
            note(&format!("train with it: `ftl train {}`", config.id));
        }
    }
    Ok(Ended::Done)
}

async fn list(context: &Context) -> CommandResult {
    let client = context.client().await?;
    let configs = all(async |page| client.configs(&page).await).await?;
    match context.format {
        Format::Json => print_json(&json!({"configs": configs}))?,
        Format::Text if configs.is_empty() => note("no kept specs; `ftl config save NAME SPEC` keeps one"),
        Format::Text => {
            let mut table =
                Table::new(&[("ID", Align::Left), ("NAME", Align::Left), ("CHANGED", Align::Left)]);
            for Config { id, name, spec: _, created_unix_ms: _, updated_unix_ms } in &configs {
                table.row([id.as_str().into(), name.into(), age(*updated_unix_ms, now_unix_ms()).into()]);
            }
            print_table(&table)?;
        }
    }
    Ok(Ended::Done)
}

async fn show(args: ShowArgs, context: &Context) -> CommandResult {
    let ShowArgs { config, format } = args;
    let client = context.client().await?;
    let config = find::config(&client, &config).await?;
    match (context.format, format) {
        (Format::Json, _) => print_json(&json!({"config": config}))?,
        (Format::Text, SpecFormat::Toml) => print(config.spec.to_toml()?.trim_end())?,
        (Format::Text, SpecFormat::Json) => print(&format!("{:#}", json!(config.spec)))?,
    }
    Ok(Ended::Done)
}

async fn forget(args: RemoveArgs, context: &Context) -> CommandResult {
    let RemoveArgs { configs, confirm } = args;
    let client = context.client().await?;
    let mut ids = Vec::new();
    for text in &configs {
        remove::once(&mut ids, find::config(&client, text).await?.id);
    }
    if confirm.ask(&format!("forget {}?", remove::listed(&ids)))? == Answer::No {
        note("nothing was forgotten");
        return Ok(Ended::Negative);
    }
    let mut report = Report::new(context.format);
    for id in &ids {
        report.take(id, client.delete_config(id).await, "forgotten")?;
    }
    report.end_removed()
}

async fn copy(args: CloneArgs, context: &Context) -> CommandResult {
    let CloneArgs { config, name } = args;
    let client = context.client().await?;
    let id = find::config(&client, &config).await?.id;
    tell(&client.clone_config(&id, &name).await?, context)
}

async fn validate(args: SpecArgs, context: &Context) -> CommandResult {
    let spec = args.read(context).await?;
    let client = context.client().await?;
    let resolved = client.validate_config(&spec).await??;
    match context.format {
        Format::Json => print_json(&json!({"resolved": resolved}))?,
        Format::Text => {
            note("this is what would be trained:");
            print(resolved.to_toml()?.trim_end())?;
        }
    }
    Ok(Ended::Done)
}

async fn presets(args: PresetArgs, context: &Context) -> CommandResult {
    let client = context.client().await?;
    let presets = client.presets().await?;
    let Some(name) = args.name else {
        match context.format {
            Format::Json => print_json(&json!({"presets": presets}))?,
            Format::Text => {
                let mut table = Table::new(&[("NAME", Align::Left), ("WHEN TO CHOOSE IT", Align::Left)]);
                for Preset { name, description, spec: _ } in &presets {
                    table.row([name.into(), description.into()]);
                }
                print_table(&table)?;
                note("`ftl config presets NAME > job.toml` begins a spec with one");
            }
        }
        return Ok(Ended::Done);
    };
    let preset = presets.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        let message = format!("there is no preset `{name}`; expected one of: {}", names.join(", "));
        Problem::new(ProblemKind::NotFound, message)
    })?;
    match context.format {
        Format::Json => print_json(&json!({"preset": preset}))?,
        Format::Text => print(preset.spec.to_toml()?.trim_end())?,
    }
    Ok(Ended::Done)
}
