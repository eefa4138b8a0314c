//! `ftl-train`: the engine without a server. One file for each subcommand.

mod bench;
mod check;
mod doctor;
mod generate;
mod inspect;
mod messages;
mod model;
mod output;
mod plan;
mod precision;
mod progress;
mod render;
mod run;
mod schema;
mod score;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// FineTune Lab's engine: one job in the foreground.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document on stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Train as a spec says.
    Run(run::Args),
    /// Measure training speed and memory on random tokens.
    Bench(bench::Args),
    /// Say what is in data files, and whether they can be trained on.
    Check(check::Args),
    /// Say on which devices this machine can train, and what is missing.
    Doctor,
    /// Continue a text or a conversation.
    Generate(generate::Args),
    /// Describe a model or adapter directory.
    Inspect(inspect::Args),
    /// Say how much memory a run would take, and what would fit.
    Plan(plan::Args),
    /// Show a conversation as the model will see it, with the trained tokens marked.
    Render(render::Args),
    /// Print the JSON Schema of the spec.
    Schema,
    /// Score given tokens: the negative log-likelihood of each.
    Score(score::Args),
    /// Say whether two runs took the same steps to the same weights, or whether one's files are as they were written.
    Verify(verify::Args),
}

fn main() -> ExitCode {
    ftl_trainer::device::keep_heap();
    ftl_trainer::device::prepare();
    let Cli { command, json } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let format = if json { output::Format::Json } else { output::Format::Text };
    let result = match command {
        Command::Run(args) => run::run(args, format),
        Command::Bench(args) => bench::run(args, format),
        Command::Check(args) => check::run(args, format),
        Command::Doctor => doctor::run(format),
        Command::Generate(args) => generate::run(args, format),
        Command::Inspect(args) => inspect::run(args, format),
        Command::Plan(args) => plan::run(args, format),
        Command::Render(args) => render::run(args, format),
        Command::Schema => schema::run(),
        Command::Score(args) => score::run(args, format),
        Command::Verify(args) => verify::run(args, format),
    };
    output::exit(result, format)
}
