//! What the user means by a checkpoint.

use std::fmt;

use ftl_client::{Client, Show};
use ftl_core::job::Checkpoint;
use ftl_core::{JobId, Problem, ProblemKind};

use crate::output::Failure;
use crate::{find, pages};

/// The job would go on from here.
const LAST: &str = "last";
/// It has the lowest held-out loss.
const BEST: &str = "best";

/// A checkpoint that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its job.
    pub job: JobId,
    /// Its name within the job.
    pub name: String,
}

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.job, self.name)
    }
}

/// The checkpoint that `text` means: JOB/STEP, JOB/last, JOB/best or JOB/NAME.
///
/// # Errors
/// A [`Problem`] if it means none.
pub async fn find(client: &Client, text: &str) -> Result<Named, Failure> {
    // A job's name may hold a slash.
    let Some((job, which)) = text.rsplit_once('/') else {
        let message = format!("`{text}` names no checkpoint");
        return Err(Problem::new(ProblemKind::InvalidValue, message)
            .hint("give JOB/STEP, JOB/last or JOB/best")
            .into());
    };
    let job = find::job(client, job).await?;
    let wanted: fn(&Checkpoint) -> bool = match which {
        LAST => |checkpoint| checkpoint.last,
        BEST => |checkpoint| checkpoint.best,
        other => {
            let is_step = !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_digit());
            let name = if is_step { format!("checkpoint-{other}") } else { other.to_owned() };
            return Ok(Named { job, name });
        }
    };
    let on_disk = pages::all(async |page| client.checkpoints(&job, &page, Show::OnDisk).await).await?;
    match on_disk.iter().find(|checkpoint| wanted(checkpoint)) {
        Some(checkpoint) => Ok(Named { name: checkpoint.name(), job }),
        None => {
            let (message, hint) = match which {
                BEST => ("has no checkpoint with a held-out loss", "list its checkpoints with"),
                _ => ("has no checkpoint that is complete", "look at what is there with"),
            };
            let problem = Problem::new(ProblemKind::NotFound, format!("{job} {message}"));
            Err(problem.hint(format!("{hint} `ftl checkpoints ls {job}`")).into())
        }
    }
}
