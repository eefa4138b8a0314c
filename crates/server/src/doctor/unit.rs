//! The service as systemd knows it.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_trainer::doctor::{Finding, Level, finding};
use serde::Serialize;

use super::shown;
use crate::systemd::install;
use crate::systemd::units::{SERVICE, SOCKET, command_of, units};

/// Where the names of users are whose services run without a login (loginctl(1)).
const LINGER: &str = "/var/lib/systemd/linger";
/// How to mend nearly everything here.
const AGAIN: &str = "call `ftl-server install --user`";

/// The service's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Whether systemd runs for this user.
    pub has_systemd: bool,
    /// Whether it knows the service.
    pub installed: Installed,
    /// The program that it starts.
    pub program: Option<PathBuf>,
    /// Whether it starts it by itself.
    pub is_enabled: bool,
    /// Whether it runs it now.
    pub is_active: bool,
    /// Whether it runs it while nobody is logged in; `None`: it can't be said.
    pub lingers: Option<bool>,
}

/// Whether systemd knows the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Installed {
    /// No.
    Absent,
    /// As this version installs it.
    Current,
    /// Otherwise than this version installs it.
    Other,
}

pub(super) fn look(directory: Option<&Path>, findings: &mut Vec<Finding>) -> Unit {
    let has_systemd = install::check_systemd().is_ok();
    let read = |name| fs::read_to_string(directory?.join(name)).ok();
    let mut unit = Unit {
        has_systemd,
        installed: Installed::Absent,
        program: None,
        is_enabled: has_systemd && install::is_enabled(),
        is_active: has_systemd && install::is_active(),
        lingers: lingers(),
    };
    let (service, socket) = (read(SERVICE), read(SOCKET));
    let Some(service) = service else {
        if socket.is_some() {
            unit.installed = Installed::Other;
            findings.push(finding(
                Level::Warning,
                format!("`{SOCKET}` is installed without its service"),
                AGAIN,
            ));
        } else if has_systemd {
            let message = "the service is not installed, so it ends with this session, and `ftl` starts it";
            let hint = "`ftl-server install --user --now` has systemd run it";
            findings.push(finding(Level::Info, message, hint));
        }
        return unit;
    };
    let command = command_of(&service);
    let expected = command.clone().and_then(|(program, listen)| units(&program, listen).ok());
    let is_current =
        expected.is_some_and(|[ours, our_socket]| ours.text == service && socket == Some(our_socket.text));
    unit.installed = if is_current { Installed::Current } else { Installed::Other };
    unit.program = command.map(|(program, _)| program);
    if !is_current {
        let message = format!("`{SERVICE}` is not what this version installs");
        findings.push(finding(Level::Warning, message, AGAIN));
    }
    if let Some(program) = unit.program.as_ref().filter(|program| !program.is_file()) {
        let message = format!("`{SERVICE}` starts {}, which is not there", shown(program));
        findings.push(finding(Level::Error, message, AGAIN));
    }
    if has_systemd && !unit.is_enabled {
        let message = "the service does not start with this machine";
        let hint = "`systemctl --user enable --now ftl-server.socket ftl-server.service`";
        findings.push(finding(Level::Info, message, hint));
    }
    if unit.lingers == Some(false) {
        let message = "the service ends when you log out, and its jobs wait until you are back";
        findings.push(finding(Level::Warning, message, "`loginctl enable-linger`"));
    }
    unit
}

fn lingers() -> Option<bool> {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty() && !user.contains('/'))?;
    Some(Path::new(LINGER).join(user).exists())
}
