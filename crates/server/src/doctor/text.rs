//! A report for people: one fact a line, findings at the end.

use std::fmt;

use ftl_trainer::doctor::gib;

use super::{Data, Database, Installed, Reach, Report, Standing, Unit};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, machine, data, service, systemd, findings } = self;
        writeln!(f, "{machine}")?;
        writeln!(f, "version         {version}")?;
        writeln!(f, "data            {}", of_data(data))?;
        writeln!(f, "service         {}", of_service(service))?;
        writeln!(f, "systemd         {}", of_unit(systemd))?;
        for finding in findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

fn of_data(data: &Data) -> String {
    let Data { path, exists, mode, file_system, free_bytes, database } = data;
    let mut parts = vec![path.display().to_string()];
    if !exists {
        parts.push("not there yet".to_owned());
    }
    parts.extend(mode.as_ref().map(|mode| format!("mode {mode}")));
    parts.extend(file_system.map(|name| format!("on {name}")));
    parts.extend(free_bytes.map(|free| format!("{} free", gib(free))));
    parts.push(
        match database {
            Database::Absent => "no database yet",
            Database::Current => "database of this version",
            Database::Older => "database of an earlier version",
            Database::Newer => "database of a later version",
            Database::Unreadable => "database that can't be read",
        }
        .to_owned(),
    );
    parts.join(", ")
}

fn of_service(service: &Reach) -> String {
    let Reach { socket, standing, version, pid } = service;
    let socket = socket.display();
    match (standing, version, pid) {
        (Standing::Absent, _, _) => format!("none runs; it would listen on unix:{socket}"),
        (Standing::Answers, Some(version), Some(pid)) => {
            format!("version {version}, process {pid}, answers on unix:{socket}")
        }
        (Standing::Answers, _, _) => format!("answers on unix:{socket}"),
        (Standing::Silent, _, _) => format!("does not answer on unix:{socket}"),
    }
}

fn of_unit(unit: &Unit) -> String {
    let Unit { has_systemd, installed, program, is_enabled, is_active, lingers } = unit;
    let mut parts = Vec::new();
    if !has_systemd {
        parts.push("does not run for this user".to_owned());
    }
    parts.push(match (installed, program) {
        (Installed::Absent, _) => "the service is not installed".to_owned(),
        (Installed::Current | Installed::Other, Some(program)) => format!("starts {}", program.display()),
        (Installed::Current | Installed::Other, None) => "the service's unit can't be read".to_owned(),
    });
    let is_installed = match installed {
        Installed::Absent => false,
        Installed::Current | Installed::Other => true,
    };
    if is_installed && *has_systemd {
        parts.push(if *is_active { "runs now" } else { "does not run now" }.to_owned());
        parts.push(if *is_enabled { "starts with this machine" } else { "is not enabled" }.to_owned());
        parts.extend(lingers.map(|lingers| if lingers { "lingers" } else { "ends at logout" }.to_owned()));
    }
    parts.join(", ")
}
