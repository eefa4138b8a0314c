//! Who answers, and who does not.

use std::path::PathBuf;
use std::time::Duration;

use ftl_client::{Client, ClientError, Endpoint, Limits};
use tonic::Status;

use crate::fake::{Fake, Running, limits};

async fn refusal(endpoint: &Endpoint) -> ClientError {
    Client::connect_within(endpoint, limits()).await.expect_err("nobody should answer")
}

#[tokio::test]
async fn both_kinds_of_sockets_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = Fake::default();
    let on_socket = Running::on_socket(&folder.path().join("socket"), &fake);
    let on_port = Running::on_port(&fake, None);
    for server in [on_socket, on_port] {
        let client = Client::connect(&server.endpoint).await.expect("it answers");
        assert_eq!(client.endpoint(), &server.endpoint);
        client.system_info().await.expect("it answers again");
    }
}

#[tokio::test]
async fn the_token_goes_with_every_request_to_a_port_and_with_none_to_a_socket() {
    let fake = Fake::default();
    let server = Running::on_port(&fake, Some("s3cret"));
    let client = Client::connect_within(&server.endpoint, limits()).await.expect("it answers");
    client.system_info().await.expect("it answers again");
    assert_eq!(fake.authorization().as_deref(), Some("Bearer s3cret"));
    assert_eq!(fake.calls()[0].authorization.as_deref(), Some("Bearer s3cret"));

    let folder = tempfile::tempdir().expect("a folder");
    let fake = Fake::default();
    let server = Running::on_socket(&folder.path().join("socket"), &fake);
    Client::connect_within(&server.endpoint, limits()).await.expect("it answers");
    assert_eq!(fake.authorization(), None);
}

#[tokio::test]
async fn a_refused_token_is_told_at_once() {
    let fake = Fake::default();
    fake.refuse::<ftl_client::wire::v1::SystemInfo>(
        "get_system_info",
        Status::unauthenticated("the token is not this server's"),
    );
    let server = Running::on_port(&fake, Some("other"));
    assert_eq!(
        refusal(&server.endpoint).await,
        ClientError::Denied("the token is not this server's".to_owned())
    );
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("socket");
    assert_eq!(
        refusal(&Endpoint::Unix(socket.clone())).await,
        ClientError::Unavailable(format!(
            "nobody answers at `unix:{}`: No such file or directory (os error 2)",
            socket.display()
        ))
    );

    // A socket whose server is gone.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a free path"));
    let error = refusal(&Endpoint::Unix(socket)).await.to_string();
    assert!(error.ends_with("Connection refused (os error 111)"), "{error}");

    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let endpoint: Endpoint = format!("http://{port}").parse().expect("an endpoint");
    assert_eq!(
        refusal(&endpoint).await,
        ClientError::Unavailable(format!(
            "nobody answers at `http://{port}`: Connection refused (os error 111)"
        ))
    );
}

#[tokio::test]
async fn an_endpoint_that_was_not_read_from_text_is_checked_too() {
    let cases = [
        (
            Endpoint::Http { url: "http://example.org:80".to_owned(), token: None },
            "`http://example.org:80` is not on this machine, and servers elsewhere are not supported yet; \
             give `unix:PATH` or `http://127.0.0.1:PORT`",
        ),
        (
            Endpoint::Unix(PathBuf::new()),
            "`unix:` names no socket; give `unix:PATH` or `http://127.0.0.1:PORT`",
        ),
    ];
    for (endpoint, expected) in cases {
        let error = refusal(&endpoint).await;
        assert!(matches!(error, ClientError::Refused(_)), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint: Endpoint =
        format!("http://{}", listener.local_addr().expect("bound")).parse().expect("an endpoint");
    let short = Limits { answer: Duration::from_millis(50), ..limits() };
    let error = Client::connect_within(&endpoint, short).await.expect_err("it says nothing");
    assert_eq!(error, ClientError::TimedOut(format!("`{endpoint}` gave no answer within 0.05 s")));
}

#[tokio::test]
async fn a_server_of_another_protocol_is_an_error() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint: Endpoint =
        format!("http://{}", listener.local_addr().expect("bound")).parse().expect("an endpoint");
    let other = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("the client comes");
        let mut preface = [0; 24];
        connection.read_exact(&mut preface).expect("the client speaks first");
        connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").expect("it listens");
    });
    let error = refusal(&endpoint).await;
    other.join().expect("no panic");
    assert!(
        matches!(&error, ClientError::Unavailable(text) if text.starts_with(&format!("the connection to `{endpoint}` broke: "))),
        "{error:?}"
    );
}
