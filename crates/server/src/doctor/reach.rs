//! Whether a service runs, answers, and is of this version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ftl_client::{Client, Endpoint};
use ftl_trainer::doctor::{Finding, Level, finding};
use serde::Serialize;
use tokio::time::timeout;

use super::shown;
use crate::data_dir::running_in;

/// A service that is well answers in milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The service that works in the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Where it is looked for.
    pub socket: PathBuf,
    /// Whether it is there.
    pub standing: Standing,
    /// Its version, where it answers.
    pub version: Option<String>,
    /// Its process, where it answers.
    pub pid: Option<u32>,
}

/// Whether a service is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// None runs; `ftl` starts one.
    Absent,
    /// It answers.
    Answers,
    /// One runs and does not answer here.
    Silent,
}

pub(super) async fn look(data_dir: &Path, socket: PathBuf, findings: &mut Vec<Finding>) -> Reach {
    // Where nobody works, nobody is called: systemd may listen, and would start a service for the call.
    let Some(owner) = running_in(data_dir) else {
        return Reach { socket, standing: Standing::Absent, version: None, pid: None };
    };
    let asked = timeout(ANSWER_WITHIN, async {
        let client = Client::connect(&Endpoint::Unix(socket.clone())).await?;
        client.system_info().await
    });
    let said = match asked.await {
        Ok(Ok(info)) => {
            let own = env!("CARGO_PKG_VERSION");
            if info.version != own {
                let message = format!("the service that runs is version {}, this is {own}", info.version);
                let hint = "start it again: `systemctl --user restart ftl-server.service`, or end it";
                findings.push(finding(Level::Warning, message, hint));
            }
            let (version, pid) = (Some(info.version), Some(info.pid));
            return Reach { socket, standing: Standing::Answers, version, pid };
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", ANSWER_WITHIN.as_secs()),
    };
    let message = format!("the service does not answer on {}: {said}; it is {owner}", shown(&socket));
    findings.push(finding(Level::Error, message, "look at its log, and start it again"));
    Reach { socket, standing: Standing::Silent, version: None, pid: None }
}
