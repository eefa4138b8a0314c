//! `ftl`: the command line for people. A client of the service, which it starts when none runs. One file for each
//! command.

mod backup;
mod chat;
mod checkpoints;
mod completions;
mod config;
mod confirm;
mod connection;
mod data;
mod doctor;
mod find;
mod follow;
mod generate;
mod gpu_history;
mod gpus;
mod jobs;
mod models;
mod output;
mod pages;
mod plan;
mod remove;
mod sampling;
mod speak;
mod spec;
mod start;
mod status;
mod train;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use connection::{Context, ServerArgs};
use output::{CommandResult, Format};

/// FineTune Lab: fine-tune language models on your own machine.
#[derive(Parser)]
#[command(name = "ftl", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    server: ServerArgs,
    /// Print one JSON document on stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Fine-tune a model as a spec says.
    Train(train::Args),
    /// Say how much memory a job would take, and what would fit.
    Plan(spec::SpecArgs),
    /// List, follow, stop, resume and remove jobs.
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// List, make, pin, verify, export and remove what jobs saved on their way.
    #[command(subcommand)]
    Checkpoints(checkpoints::Command),
    /// Check data, and import, look into, split and forget datasets.
    #[command(subcommand)]
    Data(data::Command),
    /// Import, inspect and forget models.
    #[command(subcommand)]
    Models(models::Command),
    /// Keep specs for later, and find one to start from.
    #[command(subcommand)]
    Config(config::Command),
    /// Talk to a model, or to what a job made.
    Chat(chat::Args),
    /// Go on from the beginning of a text.
    Generate(generate::Args),
    /// Say what the service does, and on which machine.
    Status,
    /// Show the NVIDIA GPUs.
    Gpus(gpus::Args),
    /// Copy the service's database to a file.
    Backup(backup::Args),
    /// Say what this machine can train on, and how the service stands, also where none runs. Exits with 1 where something
    /// is broken.
    Doctor,
    /// Print a script that completes this command line in a shell.
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let Cli { command, server, json } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let format = if json { Format::Json } else { Format::Text };
    // One thread: the program waits for the service, for the user, or for both.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::exit(Err(error.into()), format),
    };
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(command, server, format))));
    result.map_or_else(|_| output::bug(), |result| output::exit(result, format))
}

async fn run(command: Command, server: ServerArgs, format: Format) -> CommandResult {
    if let Command::Doctor = command {
        server.must_be_absent()?;
        return doctor::run(format);
    }
    let context = Context::new(server, format)?;
    match command {
        Command::Train(args) => train::run(args, &context).await,
        Command::Plan(spec) => plan::run(spec, &context).await,
        Command::Jobs(command) => jobs::run(command, &context).await,
        Command::Checkpoints(command) => checkpoints::run(command, &context).await,
        Command::Data(command) => data::run(command, &context).await,
        Command::Models(command) => models::run(command, &context).await,
        Command::Config(command) => config::run(command, &context).await,
        Command::Chat(args) => chat::run(args, &context).await,
        Command::Generate(args) => generate::run(args, &context).await,
        Command::Status => status::run(&context).await,
        Command::Gpus(args) => gpus::run(args, &context).await,
        Command::Backup(args) => backup::run(args, &context).await,
        // Done before a service was looked for.
        Command::Doctor => doctor::run(format),
        Command::Completions(args) => completions::run(&args),
    }
}
