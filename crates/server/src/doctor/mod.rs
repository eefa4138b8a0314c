//! What this machine can train on, and how the service of this user stands: its data, its socket, its unit. Works
//! whether or not a service runs, starts none and changes nothing.
//!
//! | file | looks at |
//! |---|---|
//! | `data` | the data directory, its disk and file system, the database's version |
//! | `reach` | whether a service runs there, answers, and is of this version |
//! | `unit` | systemd: whether it is installed, as this version would, and runs without a login |
//! | `text` | all of it for people |
//!
//! Devices, driver, compiler, caches and disks are the [engine's](ftl_trainer::doctor) to look at.

mod data;
mod reach;
mod text;
mod unit;

use std::path::{Path, PathBuf};

use ftl_trainer::doctor::{Diagnosis, Finding, Level, diagnose};
use serde::Serialize;

pub use data::{Data, Database};
pub use reach::{Reach, Standing};
pub use unit::{Installed, Unit};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// This program's version.
    pub version: &'static str,
    /// What can be trained on.
    pub machine: Diagnosis,
    /// The service's data.
    pub data: Data,
    /// The service that runs, if one does.
    pub service: Reach,
    /// The service as systemd knows it.
    pub systemd: Unit,
    /// What stands in the way of the service, or may do so.
    pub findings: Vec<Finding>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The socket.
    pub socket: PathBuf,
    /// Where the user's units are.
    pub units: Option<PathBuf>,
}

/// Looks at everything.
pub async fn report(places: Places) -> Report {
    let Places { data_dir, socket, units } = places;
    let mut findings = Vec::new();
    let service = reach::look(&data_dir, socket, &mut findings).await;
    let looked = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        let data = data::look(&data_dir, &mut found);
        let unit = unit::look(units.as_deref(), &mut found);
        (diagnose(), data, unit, found)
    });
    let (machine, data, systemd, found) = looked.await.expect("looking does not panic");
    findings.extend(found);
    Report { version: env!("CARGO_PKG_VERSION"), machine, data, service, systemd, findings }
}

impl Report {
    /// Whether something is broken. What only warns, or is not installed, is not.
    pub fn is_well(&self) -> bool {
        self.machine.findings.iter().chain(&self.findings).all(|finding| finding.level != Level::Error)
    }
}

/// A path in a sentence.
fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}
