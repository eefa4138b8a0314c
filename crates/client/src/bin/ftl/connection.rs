//! Which service a command talks to.

use std::path::{Path, PathBuf};

use ftl_client::{Client, ClientError, Endpoint, places};
use ftl_core::{Problem, ProblemKind};

use crate::output::{Failure, Format};
use crate::start;

/// Names the service where `--server` does not.
const VARIABLE: &str = "FTL_SERVER";

/// Flags of every command that talks to the service.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// Where the service listens: unix:PATH or http://127.0.0.1:PORT. Default: $FTL_SERVER, or else the user's own,
    /// which is started when it does not run.
    #[arg(long, global = true, value_name = "ADDRESS")]
    server: Option<String>,
    /// The file with the service's token, for http. Default: the user's own.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// For a command that talks to no service.
    ///
    /// # Errors
    /// A [`Problem`] where one was named.
    pub fn must_be_absent(&self) -> Result<(), Failure> {
        let Self { server, token_file } = self;
        let flag = match (server, token_file) {
            (None, None) => return Ok(()),
            (Some(_), _) => "--server",
            (None, Some(_)) => "--token-file",
        };
        let problem = Problem::new(ProblemKind::InvalidValue, "this command looks at this machine alone");
        Err(problem.at(flag).hint("drop it").into())
    }
}

/// What every command is given.
pub struct Context {
    address: Address,
    /// What goes to stdout.
    pub format: Format,
}

enum Address {
    /// The user's own service.
    Own,
    /// What the user named.
    Named(Endpoint),
}

impl Context {
    /// Reads the flags and the environment; connects to nothing.
    ///
    /// # Errors
    /// An address or token that can't be used.
    pub fn new(args: ServerArgs, format: Format) -> Result<Self, Failure> {
        let ServerArgs { server, token_file } = args;
        let (text, place) = match server {
            Some(text) => (Some(text), "--server"),
            None => (std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()), VARIABLE),
        };
        let Some(text) = text else {
            return match token_file {
                Some(_) => Err(needless_token()),
                None => Ok(Self { address: Address::Own, format }),
            };
        };
        let endpoint: Endpoint = text.parse().map_err(|problem: Problem| problem.at(place))?;
        let endpoint = match (endpoint, token_file) {
            (Endpoint::Unix(_), Some(_)) => return Err(needless_token()),
            (Endpoint::Unix(path), None) => Endpoint::Unix(path),
            (Endpoint::Http { url, token: _ }, file) => {
                Endpoint::Http { url, token: token(file.as_deref())? }
            }
        };
        Ok(Self { address: Address::Named(endpoint), format })
    }

    /// A connection to the service, which is started where it is the user's own and does not run.
    ///
    /// # Errors
    /// Nobody answers, or not as a service does.
    pub async fn client(&self) -> Result<Client, Failure> {
        match &self.address {
            Address::Named(endpoint) => Ok(Client::connect(endpoint).await?),
            Address::Own => {
                let endpoint = Endpoint::Unix(places::socket()?);
                match Client::connect(&endpoint).await {
                    Err(ClientError::Unavailable(_)) => start::server(&endpoint).await,
                    answer => Ok(answer?),
                }
            }
        }
    }
}

fn needless_token() -> Failure {
    Problem::new(ProblemKind::InvalidValue, "a token is for a service at an http address alone")
        .at("--token-file")
        .hint("drop it, or name the service with `--server http://127.0.0.1:PORT`")
        .into()
}

/// The token in a file. Without a named file there may be none; the service says whether it wants one.
fn token(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let path = match file {
        Some(path) => path.to_path_buf(),
        None => places::token_file(&places::data_dir()?),
    };
    match (std::fs::read_to_string(&path), file) {
        (Ok(text), _) => Ok(Some(text.trim().to_owned())),
        (Err(error), None) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        (Err(error), _) => {
            let message = format!("the token can't be read from `{}`: {error}", path.display());
            Err(Problem::new(ProblemKind::NotFound, message).at("--token-file").into())
        }
    }
}
