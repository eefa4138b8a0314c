//! The question before something is lost.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Flags of commands that remove or give up something.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ConfirmArgs {
    /// Ask nothing.
    #[arg(long, short)]
    yes: bool,
}

/// What the user said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Do it.
    Yes,
    /// Leave it.
    No,
}

impl ConfirmArgs {
    /// Asks on a terminal. Without one, or with `--yes`, the command itself is the answer.
    pub fn ask(self, question: &str) -> io::Result<Answer> {
        if self.yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(Answer::Yes);
        }
        write!(io::stderr(), "{question} [y/N] ")?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(match line.trim() {
            "y" | "Y" | "yes" => Answer::Yes,
            _ => Answer::No,
        })
    }
}
