//! Writes the units for a user, has systemd check them, and takes them away again.
//!
//! The unit names the program as its user calls it: a symbolic link on the PATH is kept, so that a new version behind
//! the same link needs no new unit.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::units::{SERVICE, SOCKET, Unit, UnwritablePath, units};

/// How each of our units begins, whatever its version.
const MARK: &str = "# FineTune Lab's service, ";
const SOCKET_MARK: &str = "# Where `ftl` finds the service, ";

/// Why it was not installed or taken away.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Nobody would run it.
    #[error(
        "no systemd runs for this user (`systemctl --user` says: {0}); start the service with `ftl-server serve`, or see the units with `--print`"
    )]
    NoSystemd(String),
    /// There is no home.
    #[error("there is no directory for a user's settings; set HOME or XDG_CONFIG_HOME")]
    NoHome,
    /// The program can't be named.
    #[error(transparent)]
    Unwritable(#[from] UnwritablePath),
    /// Others could come in.
    #[error(
        "`{0}` can be reached from other machines, which the service does not allow; listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// The file is somebody else's.
    #[error("`{0}` is there and not ours; move it away, or keep your settings in `systemctl --user edit`")]
    Foreign(PathBuf),
    /// systemd does not like the units.
    #[error("systemd-analyze refuses the units, which stay as they were: {0}")]
    Refused(String),
    /// Another service would be in the way.
    #[error(
        "a service that systemd did not start is running ({0}); end it, for instance with `kill`, and try again"
    )]
    Running(String),
    /// One of systemd's programs failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// What was called.
        command: String,
        /// What it said.
        said: String,
    },
    /// The operating system refused something.
    #[error("can't {act} `{path}`")]
    Io {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Written,
    /// It said something else.
    Replaced,
    /// It says the same.
    Same,
}

/// Where a user's own units are.
///
/// # Errors
/// [`InstallError::NoHome`].
pub fn directory() -> Result<PathBuf, InstallError> {
    dirs::config_dir().map(|config| config.join("systemd/user")).ok_or(InstallError::NoHome)
}

/// The units for this program, named as it was called where that leads to it.
///
/// # Errors
/// [`InstallError::NotLoopback`], [`InstallError::Unwritable`], and what the operating system refuses.
pub fn own_units(listen: Option<SocketAddr>) -> Result<[Unit; 2], InstallError> {
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
        return Err(InstallError::NotLoopback(address));
    }
    Ok(units(&own_program()?, listen)?)
}

/// Where this program is, in the words that will still be right after an update.
fn own_program() -> Result<PathBuf, InstallError> {
    let failed = |source| InstallError::Io { act: "find", path: "this program".into(), source };
    let program = std::env::current_exe().map_err(failed)?;
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let candidates: Vec<PathBuf> = if called.components().count() > 1 {
        std::path::absolute(&called).into_iter().collect()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&called))
            .collect()
    };
    let leads_here = |candidate: &PathBuf| candidate.canonicalize().is_ok_and(|found| found == program);
    Ok(candidates.into_iter().find(leads_here).unwrap_or(program))
}

/// Makes sure that systemd runs for this user.
///
/// # Errors
/// [`InstallError::NoSystemd`].
pub fn check_systemd() -> Result<(), InstallError> {
    match call("systemctl", &["--user", "show-environment"]) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(InstallError::NoSystemd(said(&output))),
        Err(error) => Err(InstallError::NoSystemd(error.to_string())),
    }
}

/// Checks the units and writes them where they differ from what is there.
///
/// # Errors
/// Files that are not ours, units that systemd refuses; nothing is changed then.
pub fn write(directory: &Path, units: &[Unit]) -> Result<Vec<(PathBuf, Change)>, InstallError> {
    let failed = |act, path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Io { act, path, source }
    };
    let mut changes = Vec::new();
    for Unit { name, text } in units {
        let path = directory.join(name);
        let change = match fs::read_to_string(&path) {
            Ok(found) if found == *text => Change::Same,
            Ok(found) if is_ours(&found) => Change::Replaced,
            Ok(_) => return Err(InstallError::Foreign(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Change::Written,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(InstallError::Foreign(path));
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        changes.push((path, change));
    }
    verify(units)?;
    fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    for ((path, change), unit) in changes.iter().zip(units) {
        if *change != Change::Same {
            // Under another name first: systemd may read at any moment.
            let unfinished = path.with_extension("new");
            fs::write(&unfinished, &unit.text).map_err(failed("write", &unfinished))?;
            fs::rename(&unfinished, path).map_err(failed("write", path))?;
        }
    }
    Ok(changes)
}

/// Removes our units; those that were there.
///
/// # Errors
/// Files that are not ours; nothing is removed then.
pub fn remove(directory: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut found = Vec::new();
    for name in [SERVICE, SOCKET] {
        let path = directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if is_ours(&text) => found.push(path),
            Ok(_) => return Err(InstallError::Foreign(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(InstallError::Io { act: "read", path, source }),
        }
    }
    for path in &found {
        fs::remove_file(path).map_err(|source| InstallError::Io {
            act: "remove",
            path: path.clone(),
            source,
        })?;
    }
    Ok(found)
}

fn is_ours(text: &str) -> bool {
    text.starts_with(MARK) || text.starts_with(SOCKET_MARK)
}

/// Has systemd read the units in a directory of their own, where nothing else is.
///
/// # Errors
/// [`InstallError::Refused`]. A machine without `systemd-analyze` has nobody to ask, and none is wanted.
pub fn verify(units: &[Unit]) -> Result<(), InstallError> {
    let io = |source| InstallError::Io { act: "write the units into", path: std::env::temp_dir(), source };
    let folder = tempfile::tempdir().map_err(io)?;
    let mut arguments = vec!["--user".to_owned(), "verify".to_owned()];
    for Unit { name, text } in units {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(io)?;
        arguments.push(path.display().to_string());
    }
    let mut command = Command::new("systemd-analyze");
    command.args(&arguments).stdin(Stdio::null());
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // It wants one, and puts nothing there.
        command.env("XDG_RUNTIME_DIR", folder.path());
    }
    match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(InstallError::Refused(error.to_string())),
        Ok(output) => {
            // It reads what ours depend on too, and other people's units are not ours to judge. What it only warns of in
            // ours, for instance a key that it does not know, is a mistake all the same.
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let of_ours: Vec<&str> = text.lines().filter(|line| line.contains("ftl-server.")).collect();
            if of_ours.is_empty() { Ok(()) } else { Err(InstallError::Refused(of_ours.join("; "))) }
        }
    }
}

/// Reads the units again, enables them and starts what is not running; lets them run without a login.
///
/// # Errors
/// One of systemd's programs failed.
pub fn start() -> Result<(), InstallError> {
    for words in START {
        must(words)?;
    }
    Ok(())
}

/// What [`start`] calls, and what a person would.
pub const START: [&[&str]; 3] = [
    &["systemctl", "--user", "daemon-reload"],
    &["systemctl", "--user", "enable", "--now", SOCKET, SERVICE],
    &["loginctl", "enable-linger"],
];

/// Stops and disables what runs; workers save. A unit that is not there is none that runs.
///
/// # Errors
/// One of systemd's programs failed.
pub fn stop() -> Result<(), InstallError> {
    must(&["systemctl", "--user", "disable", "--now", SERVICE, SOCKET])
}

/// Reads the units again.
///
/// # Errors
/// One of systemd's programs failed.
pub fn reload() -> Result<(), InstallError> {
    must(START[0])
}

/// Whether systemd runs the service now.
pub fn is_active() -> bool {
    call("systemctl", &["--user", "is-active", "--quiet", SERVICE])
        .is_ok_and(|output| output.status.success())
}

/// Whether systemd will start the service by itself.
pub fn is_enabled() -> bool {
    call("systemctl", &["--user", "is-enabled", "--quiet", SERVICE])
        .is_ok_and(|output| output.status.success())
}

fn must(words: &[&str]) -> Result<(), InstallError> {
    let command = words.join(" ");
    let [program, arguments @ ..] = words else { return Ok(()) };
    match call(program, arguments) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(InstallError::Failed { command, said: said(&output) }),
        Err(error) => Err(InstallError::Failed { command, said: error.to_string() }),
    }
}

fn call(program: &str, arguments: &[&str]) -> io::Result<Output> {
    Command::new(program).args(arguments).stdin(Stdio::null()).output()
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { format!("it ended with {}", output.status) } else { lines.join("; ") }
}
