//! What a browser says about a request, and which of it is let through.
//!
//! A web page can have its reader's browser call any address, this machine's ports included. The browser says so: by
//! `Origin` (every call of gRPC-Web carries it), by `Sec-Fetch-Site`, and by the `Host` that the page was loaded from,
//! which after DNS rebinding (Ollama's CVE-2024-28224, MLflow's CVE-2025-14279) is a foreign name with our address. Only
//! a page that this very port has served may call: its origin is the host that the request names, letter by letter.
//! Preflights ask for more than that, so none is answered, and no answer has a header of CORS. Cookies are not looked
//! at: a browser would send them for others.

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request};

use super::refusal::Refusal;

/// What a browser says about where a request comes from (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The names that this machine has for itself.
const OURS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Whom requests may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// Programs, and pages that this port has served.
    Own { port: u16 },
    /// Programs alone. No browser can use a Unix socket, but a port that `ssh -L` forwards to one can be called by one,
    /// and then under whatever port the user chose.
    Never,
}

/// Refuses what a foreign page has caused.
pub(super) fn check<B>(request: &Request<B>, pages: Pages) -> Result<(), Refusal> {
    let host = check_host(request, pages)?;
    let headers = request.headers();
    check_origin(headers, host, pages)?;
    let may_come_from = |site: &HeaderValue| match pages {
        // `none`: a person typed the address.
        Pages::Own { .. } => site == "same-origin" || site == "none",
        Pages::Never => site == "none",
    };
    if !headers.get_all(SEC_FETCH_SITE).iter().all(may_come_from) {
        return Err(Refusal::Site);
    }
    if request.method() == Method::OPTIONS {
        return Err(Refusal::Preflight);
    }
    Ok(())
}

/// The host that the request names. HTTP/2 has it as `:authority`, HTTP/1 as `Host`, or in the request's target; where
/// there are several, they must agree.
fn check_host<B>(request: &Request<B>, pages: Pages) -> Result<&[u8], Refusal> {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let headers = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    let mut named = authority.into_iter().chain(headers);
    let refused = || match pages {
        Pages::Own { port } => Refusal::Host(port),
        Pages::Never => Refusal::HostOnSocket,
    };
    let host = named.next().ok_or_else(refused)?;
    let is_ours = match pages {
        Pages::Own { port } => OURS.iter().any(|name| host == format!("{name}:{port}").as_bytes()),
        Pages::Never => is_of_this_machine(host),
    };
    if is_ours && named.all(|other| other == host) { Ok(host) } else { Err(refused()) }
}

/// One of our names, with any port or none.
fn is_of_this_machine(host: &[u8]) -> bool {
    let is_port = |rest: &[u8]| match rest {
        [] => true,
        [b':', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    OURS.iter().any(|name| host.strip_prefix(name.as_bytes()).is_some_and(is_port))
}

fn check_origin(headers: &HeaderMap, host: &[u8], pages: Pages) -> Result<(), Refusal> {
    let is_own = |origin: &HeaderValue| match pages {
        Pages::Own { .. } => origin.as_bytes().strip_prefix(b"http://") == Some(host),
        Pages::Never => false,
    };
    if headers.get_all(ORIGIN).iter().all(is_own) { Ok(()) } else { Err(Refusal::Origin) }
}
