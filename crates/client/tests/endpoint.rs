//! Where a server can be.

use std::path::PathBuf;

use ftl_client::Endpoint;

#[test]
fn sockets_and_loopback_ports_are_read() {
    let unix = |path: &str| Endpoint::Unix(PathBuf::from(path));
    let http = |url: &str| Endpoint::Http { url: url.to_owned(), token: None };
    let cases = [
        ("unix:/run/user/1000/ftl/socket", unix("/run/user/1000/ftl/socket")),
        ("unix:here.sock", unix("here.sock")),
        ("http://127.0.0.1:7411", http("http://127.0.0.1:7411")),
        ("http://127.0.0.1:7411/", http("http://127.0.0.1:7411")),
        ("http://127.9.9.9:1", http("http://127.9.9.9:1")),
        ("http://localhost:7411", http("http://localhost:7411")),
        ("http://[::1]:7411", http("http://[::1]:7411")),
    ];
    for (text, expected) in cases {
        let endpoint: Endpoint = text.parse().expect(text);
        assert_eq!(endpoint, expected);
        assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(expected), "{text} comes back");
    }
}

#[test]
fn everything_else_is_refused_with_what_can_be_given() {
    let cases = [
        ("unix:", "`unix:` names no socket"),
        ("", "`` is no address of a server"),
        ("socket", "`socket` is no address of a server"),
        ("/run/socket", "`/run/socket` is no address of a server"),
        ("127.0.0.1:7411", "`127.0.0.1:7411` is no address of a server"),
        ("ftp://127.0.0.1:7411", "`ftp://127.0.0.1:7411` is no address of a server"),
        ("http://127.0.0.1", "`http://127.0.0.1` names no port"),
        ("http://127.0.0.1:port", "`http://127.0.0.1:port` names no port"),
        ("http://127.0.0.1:7411/api", "`http://127.0.0.1:7411/api` goes on after the port"),
        ("http://127.0.0.1:7411?x=1", "`http://127.0.0.1:7411?x=1` goes on after the port"),
        (
            "http://me:secret@127.0.0.1:7411",
            "`http://me:secret@127.0.0.1:7411` holds a user name, which a server does not ask for",
        ),
        ("https://127.0.0.1:7411", "`https://127.0.0.1:7411` asks for TLS, which this version does not have"),
        (
            "http://192.168.1.5:7411",
            "`http://192.168.1.5:7411` is not on this machine, and servers elsewhere are not supported yet",
        ),
        (
            "http://0.0.0.0:7411",
            "`http://0.0.0.0:7411` is not on this machine, and servers elsewhere are not supported yet",
        ),
        (
            "http://127.0.0.1.example.org:7411",
            "`http://127.0.0.1.example.org:7411` is not on this machine, and servers elsewhere are not supported yet",
        ),
    ];
    for (text, expected) in cases {
        let problem = text.parse::<Endpoint>().expect_err(text);
        assert_eq!(problem.to_string(), format!("{expected}; give `unix:PATH` or `http://127.0.0.1:PORT`"));
    }
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    let endpoint =
        |token: &str| Endpoint::Http { url: "http://127.0.0.1:7411".into(), token: Some(token.to_owned()) };
    for token in ["", "two words", "line\n", "ü"] {
        assert_eq!(
            endpoint(token).check().expect_err(token).to_string(),
            "the token holds something else than visible ASCII; give the whole content of the server's token file, \
             without the line end"
        );
    }
    assert_eq!(endpoint("dG9rZW4_-.~").check(), Ok(()));
}

#[test]
fn tokens_are_not_shown() {
    let endpoint =
        Endpoint::Http { url: "http://127.0.0.1:7411".into(), token: Some("very-secret".to_owned()) };
    for shown in [format!("{endpoint:?}"), endpoint.to_string()] {
        assert!(shown.contains("127.0.0.1:7411") && !shown.contains("very-secret"), "{shown}");
    }
}
