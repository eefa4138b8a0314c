//! `ftl completions`: a script for a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::output::{CommandResult, Ended, print_part};

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For this shell.
    shell: Shell,
}

/// Runs it.
pub fn run(args: &Args) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "ftl", &mut script);
    print_part(&String::from_utf8_lossy(&script))?;
    Ok(Ended::Done)
}
