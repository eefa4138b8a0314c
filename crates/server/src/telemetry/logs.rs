//! Logs on stderr. `FTL_LOG` filters them (`debug`, `ftl_server=debug,warn`); without it the program chooses.

use std::backtrace::Backtrace;
use std::io::{self, IsTerminal};

use tracing::{Level, error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::journal::{self, Prioritized};
use crate::crash_reports::{Crash, CrashReports};

/// The variable that filters.
const VARIABLE: &str = "FTL_LOG";
/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: coloured on a terminal, with priorities for systemd's journal, plain elsewhere.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The filter can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the filter `{filter}` in FTL_LOG can't be read; use a level such as `debug`, or `target=level,…`")]
pub struct BadFilter {
    filter: String,
    source: ParseError,
}

/// Writes logs from now on, also those of panics; from the level `otherwise` on where the variable says nothing. Called
/// once, by the program.
///
/// # Errors
/// [`BadFilter`].
pub fn start(format: LogFormat, otherwise: Level) -> Result<(), BadFilter> {
    let filter = std::env::var(VARIABLE).ok().filter(|filter| !filter.trim().is_empty());
    let filter = filter.unwrap_or_else(|| otherwise.to_string());
    let parsed = match EnvFilter::try_new(&filter) {
        Ok(parsed) => parsed,
        Err(source) => return Err(BadFilter { filter, source }),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr);
    // A line that can't be written, as on a full disk, would be complained of on stderr too, and that panics.
    let lines = lines.log_internal_errors(false);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text if io::stderr().is_terminal() => lines.with_target(false).init(),
        LogFormat::Text if journal::reads_stderr() => {
            let plain = tracing_subscriber::fmt::format().with_ansi(false).compact().without_time();
            lines.with_ansi(false).event_format(Prioritized(plain)).init();
        }
        LogFormat::Text => lines.with_ansi(false).compact().init(),
    }
    // Where a panic happened is known here alone; `panics` says what became of the request.
    std::panic::set_hook(Box::new(|panic| error!(%panic, "a thread panicked")));
    Ok(())
}

/// From now on a panic is not only logged but written down.
pub fn write_panics_down(reports: CrashReports) {
    std::panic::set_hook(Box::new(move |panic| {
        error!(%panic, "a thread panicked");
        let log = format!("{}\n{panic}", Backtrace::force_capture());
        let crash = Crash { what: "the service", how: "a thread of it panicked", log: &log };
        match reports.write(&crash) {
            Ok(path) => error!(path = %path.display(), "the crash is written down"),
            Err(error) => error!(%error, "the crash can't be written down"),
        }
    }));
}
