//! Where a server is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ftl_core::{Problem, ProblemKind};
use http::Uri;

/// What can be written for an endpoint.
const FORMS: &str = "give `unix:PATH` or `http://127.0.0.1:PORT`";

/// Where a server is. Its text is `unix:PATH` or `http://127.0.0.1:PORT`, without the token.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A port of this machine.
    Http {
        /// `http://127.0.0.1:PORT`.
        url: String,
        /// What the server wrote to its token file.
        token: Option<String>,
    },
}

impl Endpoint {
    /// Whether it can be used. One that was read from text can.
    ///
    /// # Errors
    /// A [`Problem`] without a field if the address leads to another machine or is none.
    pub fn check(&self) -> Result<(), Problem> {
        match self {
            Self::Unix(path) if path.as_os_str().is_empty() => {
                Err(Problem::new(ProblemKind::InvalidValue, "`unix:` names no socket").hint(FORMS))
            }
            Self::Unix(_) => Ok(()),
            Self::Http { url, token } => {
                check_url(url)?;
                match token {
                    Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) || token.is_empty() => {
                        Err(Problem::new(
                            ProblemKind::InvalidValue,
                            "the token holds something else than visible ASCII",
                        )
                        .hint("give the whole content of the server's token file, without the line end"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = Problem;

    /// # Errors
    /// As [`Endpoint::check`].
    fn from_str(text: &str) -> Result<Self, Problem> {
        let endpoint = match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(PathBuf::from(path)),
            None => Self::Http { url: text.trim_end_matches('/').to_owned(), token: None },
        };
        endpoint.check()?;
        Ok(endpoint)
    }
}

fn check_url(url: &str) -> Result<(), Problem> {
    let refused = |what: String| Err(Problem::new(ProblemKind::InvalidValue, what).hint(FORMS));
    let Ok(uri) = url.parse::<Uri>() else { return refused(format!("`{url}` is no address of a server")) };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return refused(format!("`{url}` is no address of a server"));
    };
    let not_available = |what: String| Err(Problem::new(ProblemKind::NotAvailable, what).hint(FORMS));
    match scheme {
        "http" => {}
        "https" => return not_available(format!("`{url}` asks for TLS, which this version does not have")),
        _ => return refused(format!("`{url}` is no address of a server")),
    }
    if !is_loopback(authority.host()) {
        return not_available(format!(
            "`{url}` is not on this machine, and servers elsewhere are not supported yet"
        ));
    }
    if authority.as_str().contains('@') {
        return refused(format!("`{url}` holds a user name, which a server does not ask for"));
    }
    if authority.port_u16().is_none() {
        return refused(format!("`{url}` names no port"));
    }
    if uri.path_and_query().is_some_and(|path| path != "/") {
        return refused(format!("`{url}` goes on after the port"));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http { url, token: _ } => f.write_str(url),
        }
    }
}

/// Shows whether there is a token, never the token: this text ends up in logs.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => f.debug_tuple("Unix").field(path).finish(),
            Self::Http { url, token } => {
                let token = token.as_ref().map(|_| "…");
                f.debug_struct("Http").field("url", url).field("token", &token).finish()
            }
        }
    }
}
