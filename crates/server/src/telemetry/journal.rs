//! Lines for systemd's journal. It takes what a service writes to stderr, a line as an entry, and reads the priority
//! from a number in front of it (sd-daemon(3)), so that `journalctl -p warning` finds warnings. It knows the time itself.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Device and inode of the journal's end of stderr, as `8:1234` (systemd.exec(5)).
const VARIABLE: &str = "JOURNAL_STREAM";

/// Whether the journal reads this process's stderr. A child whose stderr goes elsewhere inherits the variable, so the
/// file itself is compared.
pub(super) fn reads_stderr() -> bool {
    let Ok(named) = std::env::var(VARIABLE) else { return false };
    let Ok(own) = io::stderr().as_fd().try_clone_to_owned() else { return false };
    File::from(own).metadata().is_ok_and(|file| named == format!("{}:{}", file.dev(), file.ino()))
}

/// Another format with the priority in front of each line.
pub(super) struct Prioritized<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        text.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

/// syslog(3): 3 error, 4 warning, 6 informational, 7 debug.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
