//! Why somebody is not let in, and how they are told: as a gRPC status where they speak gRPC or gRPC-Web, as plain HTTP
//! otherwise. Says nothing that helps to guess, and nothing about what is behind the door.

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::status::refusal;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Another user's process on the socket.
    #[error("only the user who runs the service may use its socket")]
    OtherUser,
    /// Another `Host` on TCP.
    #[error("the request names another host; use `127.0.0.1:{0}`, `localhost:{0}` or `[::1]:{0}`")]
    Host(u16),
    /// Another `Host` on the socket.
    #[error("the request names another host; on the socket, use `localhost`")]
    HostOnSocket,
    /// A page of another origin.
    #[error("the request carries the `Origin` of a web page that this service has not served")]
    Origin,
    /// Caused by another site.
    #[error("the request says `Sec-Fetch-Site`, and not that it comes from a page of this service")]
    Site,
    /// Asks whether a foreign page may call.
    #[error("pages of other origins may not call the service, so preflights are refused")]
    Preflight,
    /// No token.
    #[error(
        "a token is needed: send `authorization: Bearer …` with what the file `token` of the data directory holds"
    )]
    NoToken,
    /// Another token.
    #[error("the token is not that of this service; the file `token` of its data directory holds it")]
    WrongToken,
    /// Too many connections.
    #[error(
        "{0} connections are open, which is as many as the service gives; close some, or try again later"
    )]
    Crowd(usize),
    /// Headers without end.
    #[error("the request's headers have {n_bytes} bytes, at most {most} are taken; send fewer")]
    Headers {
        /// What was sent.
        n_bytes: usize,
        /// What is taken.
        most: usize,
    },
}

impl Refusal {
    /// A program can branch on it; also a label of metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OtherUser => "OTHER_USER",
            Self::Host(_) | Self::HostOnSocket => "HOST_NOT_ALLOWED",
            Self::Origin => "ORIGIN_NOT_ALLOWED",
            Self::Site => "SITE_NOT_ALLOWED",
            Self::Preflight => "PREFLIGHT_NOT_ALLOWED",
            Self::NoToken => "TOKEN_MISSING",
            Self::WrongToken => "TOKEN_WRONG",
            Self::Crowd(_) => "TOO_MANY_CONNECTIONS",
            Self::Headers { .. } => "HEADERS_TOO_LARGE",
        }
    }

    fn code(self) -> (Code, StatusCode) {
        match self {
            Self::OtherUser
            | Self::Host(_)
            | Self::HostOnSocket
            | Self::Origin
            | Self::Site
            | Self::Preflight => (Code::PermissionDenied, StatusCode::FORBIDDEN),
            Self::NoToken | Self::WrongToken => (Code::Unauthenticated, StatusCode::UNAUTHORIZED),
            Self::Crowd(_) => (Code::ResourceExhausted, StatusCode::SERVICE_UNAVAILABLE),
            Self::Headers { .. } => (Code::ResourceExhausted, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        }
    }

    /// The answer to a request with these headers.
    pub(super) fn answer(self, asked: &HeaderMap) -> Response<Body> {
        let (code, http_status) = self.code();
        let message = self.to_string();
        if let Some(kind) = grpc_kind(asked) {
            let mut response = refusal(code, self.reason(), &message).into_http();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            return response;
        }
        let mut response = Response::new(Body::new(format!("{message}\n")));
        *response.status_mut() = http_status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if http_status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for Status {
    fn from(why: Refusal) -> Self {
        refusal(why.code().0, why.reason(), &why.to_string())
    }
}

/// What an answer to gRPC or gRPC-Web calls itself; `None`: the caller speaks something else.
fn grpc_kind(asked: &HeaderMap) -> Option<&'static str> {
    let kind = asked.get(CONTENT_TYPE)?.as_bytes();
    [
        ("application/grpc-web-text", "application/grpc-web-text+proto"),
        ("application/grpc-web", "application/grpc-web+proto"),
        ("application/grpc", "application/grpc"),
    ]
    .into_iter()
    .find_map(|(beginning, answer)| kind.starts_with(beginning.as_bytes()).then_some(answer))
}
