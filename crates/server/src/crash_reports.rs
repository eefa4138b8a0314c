//! What is written down where a program of ours crashed: one text file for each crash, for the person who wants to report
//! it. Nothing is ever sent, and neither specs nor data are in it; a log may name files.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ftl_core::job::Exit;
use ftl_trainer::doctor;

use crate::data_dir::now_unix_ms;

/// Reports that are kept; older ones are deleted.
const N_KEPT: usize = 20;
const PREFIX: &str = "crash-";
const ENDING: &str = ".txt";

/// A directory of crash reports.
#[derive(Clone, Debug)]
pub struct CrashReports(PathBuf);

/// A crash.
#[derive(Clone, Copy, Debug)]
pub struct Crash<'a> {
    /// What crashed: `worker that trains`, `service`.
    pub what: &'a str,
    /// How that showed, in a sentence.
    pub how: &'a str,
    /// What it wrote last, with the backtrace where there is one.
    pub log: &'a str,
}

/// Whether an ending is a fault of ours, of a library or of a driver, rather than somebody's will or a lack of something.
pub fn is_crash(exit: Exit) -> bool {
    match exit {
        Exit::Crashed { signal: Some(signal), .. } => {
            ![libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(&signal)
        }
        // 74: the operating system refused a file, which has a problem of its own.
        Exit::Crashed { signal: None, code } => code != Some(i32::from(crate::worker::exit::FILE)),
        Exit::Ok
        | Exit::Stopped
        | Exit::Data
        | Exit::Nan
        | Exit::OomGpu
        | Exit::OomHost
        | Exit::SpawnFailed
        | Exit::Lost
        | Exit::Cancelled => false,
    }
}

impl CrashReports {
    /// Those of the service that works in a data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self::at(data_dir.join("crashes"))
    }

    /// Those in a directory, which is made with the first of them.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Writes a report, and deletes the oldest where there are too many.
    ///
    /// # Errors
    /// What the operating system refuses. A report is worth no trouble: callers log it.
    pub fn write(&self, crash: &Crash<'_>) -> io::Result<PathBuf> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let path = self.0.join(format!("{PREFIX}{:013}-{}{ENDING}", now_unix_ms(), std::process::id()));
        // Two crashes within a millisecond share a file.
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        file.write_all(text(crash).as_bytes())?;
        for old in self.list()?.into_iter().rev().skip(N_KEPT) {
            fs::remove_file(old)?;
        }
        Ok(path)
    }

    /// The reports, oldest first.
    ///
    /// # Errors
    /// A directory that can't be read. One that does not exist has none.
    pub fn list(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut reports: Vec<PathBuf> = paths?.into_iter().filter(|path| is_report(path)).collect();
        reports.sort();
        Ok(reports)
    }
}

fn is_report(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(PREFIX) && name.ends_with(ENDING)
}

fn text(crash: &Crash<'_>) -> String {
    let Crash { what, how, log } = crash;
    let doctor::Cpu { name, features: _, n_threads, memory_bytes, available_bytes } = doctor::cpu();
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), ftl_core::plan::shown);
    let mut text = String::from(
        "FineTune Lab crash report. It was written on this computer and sent nowhere. To report the crash, read it through \
         and attach it.\n\n",
    );
    for (key, value) in [
        ("what", (*what).to_owned()),
        ("how", (*how).to_owned()),
        (
            "version",
            format!("{} (cuda: {})", env!("CARGO_PKG_VERSION"), ftl_trainer::device::BUILT_WITH_CUDA),
        ),
        ("time", format!("{} ms since 1970-01-01 UTC", now_unix_ms())),
        ("system", system()),
        ("cpu", format!("{}, {n_threads} threads", name.as_deref().unwrap_or("unknown"))),
        ("memory", format!("{} of {} free", bytes(available_bytes), bytes(memory_bytes))),
        ("driver", driver()),
    ] {
        text.push_str(&format!("{key:<8} {value}\n"));
    }
    text.push_str(&format!("\n{}\n", if log.is_empty() { "It wrote nothing." } else { log }));
    text
}

/// The distribution and the kernel.
fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {} {}, {}",
        name.map_or(std::env::consts::OS, |name| name.trim_matches('"')),
        std::env::consts::OS,
        kernel.trim(),
        std::env::consts::ARCH
    )
}

/// NVIDIA's driver, by the file that its kernel module has, so that nothing is asked of a driver that may have crashed.
fn driver() -> String {
    let version = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    version.lines().next().map_or_else(|| "none of NVIDIA".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_kept_up_to_a_number_and_the_oldest_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let reports = CrashReports::at(dir.path().join("crashes"));
        assert_eq!(reports.list().expect("no directory has none"), Vec::<PathBuf>::new());
        for n in 0..N_KEPT + 3 {
            let old = dir.path().join("crashes").join(format!("crash-{n:013}-1.txt"));
            reports.write(&Crash { what: "a test", how: "it fell", log: "over" }).expect("a file");
            fs::write(old, "").expect("a file");
        }
        let path = reports.write(&Crash { what: "a test", how: "it fell", log: "over" }).expect("a file");
        let kept = reports.list().expect("a directory");
        assert_eq!(kept.len(), N_KEPT);
        assert!(kept.contains(&path), "the newest is kept: {kept:?}");
        let text = fs::read_to_string(path).expect("a report");
        for part in
            ["what     a test\n", "how      it fell\n", "\nover\n", env!("CARGO_PKG_VERSION"), "sent nowhere"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn crashes_are_told_from_other_endings() {
        let crashed = |signal, code| Exit::Crashed { signal, code };
        for (exit, expected) in [
            (crashed(Some(libc::SIGSEGV), None), true),
            (crashed(Some(libc::SIGABRT), None), true),
            (crashed(None, Some(70)), true),
            (crashed(None, Some(0)), true),
            (crashed(Some(libc::SIGKILL), None), false),
            (crashed(Some(libc::SIGTERM), None), false),
            (crashed(None, Some(74)), false),
            (Exit::OomGpu, false),
            (Exit::Lost, false),
            (Exit::Ok, false),
        ] {
            assert_eq!(is_crash(exit), expected, "{exit:?}");
        }
    }
}
