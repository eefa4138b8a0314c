//! The service as [`serve_and_tell`] starts and ends it: its directory, its sockets, its token.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use ftl_client::{Client, Endpoint};
use ftl_server::data_dir::DataDir;
use ftl_server::{Config, Ready, ServeError, serve, serve_and_tell};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::support::LONG;

struct Running {
    ready: Ready,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start(config: Config) -> Self {
        let (tell, told) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let serving = serve_and_tell(config, shutdown.clone(), |ready| {
            tell.send(ready.clone()).expect("the test waits");
        });
        let served = tokio::spawn(serving);
        let ready = timeout(LONG, told).await.expect("it starts").expect("it is ready");
        Self { ready, shutdown, served }
    }

    async fn end(self) {
        self.shutdown.cancel();
        timeout(LONG, self.served).await.expect("it ends").expect("no panic").expect("no error");
    }
}

/// A directory that nobody else can enter; that of `tempfile` is open to all.
fn private_home() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().expect("a directory")
}

fn config(home: &Path) -> Config {
    let worker_program = Some(env!("CARGO_BIN_EXE_ftl-server").into());
    Config { worker_program, ..Config::new(home.join("data")) }
}

/// The whole text of why a service does not start.
async fn refusal(config: Config) -> String {
    let shutdown = CancellationToken::new();
    let error =
        timeout(LONG, serve(config, shutdown)).await.expect("at once").expect_err("it does not start");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn service_is_for_its_user_alone_and_leaves_no_socket() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let running = Running::start(Config {
        socket: Some(home.path().join("run/ftl.sock")),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..config(home.path())
    })
    .await;
    let socket = running.ready.socket.clone();
    assert_eq!((mode(&data), mode(&home.path().join("run"))), (0o700, 0o700));
    assert_eq!((mode(&socket), mode(&data.join("token")), mode(&data.join("lock"))), (0o600, 0o600, 0o600));
    let token = fs::read_to_string(data.join("token")).expect("a token").trim().to_owned();
    assert_eq!(token.len(), 64);
    let client = Client::connect(&Endpoint::Unix(socket.clone())).await.expect("it answers");
    let info = client.system_info().await.expect("it answers");
    assert_eq!((info.pid, &info.data_directory), (std::process::id(), &data));
    let address = running.ready.tcp.expect("it listens on TCP");
    let endpoint = Endpoint::Http { url: format!("http://{address}"), token: Some(token.clone()) };
    Client::connect(&endpoint).await.expect("it answers on TCP too");
    running.end().await;
    assert!(!socket.exists());

    // The token stays: whoever was told it need not be told again.
    let running = Running::start(Config { listen: Some(address), ..config(home.path()) }).await;
    assert_eq!(fs::read_to_string(data.join("token")).expect("a token").trim(), token);
    assert_eq!(running.ready.socket, data.join("ftl.sock"));
    running.end().await;
}

#[tokio::test]
async fn second_service_on_a_data_directory_names_the_first() {
    let home = tempfile::tempdir().expect("a directory");
    let first = Running::start(config(home.path())).await;
    let said = refusal(config(home.path())).await;
    let expected = format!(
        "the data directory `{}` is in use by process {}, which was started ",
        home.path().join("data").display(),
        std::process::id()
    );
    assert!(said.starts_with(&expected), "{said}");
    let place = format!("seconds ago; it listens on `unix:{}`", first.ready.socket.display());
    assert!(said.ends_with(&place), "{said}");
    Client::connect(&Endpoint::Unix(first.ready.socket.clone())).await.expect("the first is unharmed");
    first.end().await;
    Running::start(config(home.path())).await.end().await;
}

#[tokio::test]
async fn second_service_waits_a_moment_for_the_name_of_the_first() {
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("lock"), "{\"pid\":").expect("written");
    let lock = fs::OpenOptions::new().write(true).open(home.path().join("lock")).expect("it is there");
    lock.try_lock().expect("nobody has it");
    let writing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        lock.write_all_at(br#"{"pid":4711,"started_unix_ms":1,"socket":null}"#, 0).expect("written");
        lock
    });
    let error = DataDir::open(home.path()).expect_err("it is taken");
    assert!(error.to_string().contains("is in use by process 4711, "), "{error}");
    writing.join().expect("no panic").set_len(0).expect("an empty file");
    let lock = fs::File::open(home.path().join("lock")).expect("it is there");
    lock.try_lock().expect("nobody has it");
    let error = DataDir::open(home.path()).expect_err("it is taken");
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
}

#[tokio::test]
async fn directory_of_somebody_elses_files_stays_as_it_is() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    fs::create_dir(&data).expect("made");
    fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("set");
    fs::write(data.join("thesis.tex"), "").expect("written");
    let said = refusal(config(home.path())).await;
    let expected = format!(
        "`{}` holds other files and is no data directory; name an empty directory or a new one",
        data.display()
    );
    assert_eq!(said, expected);
    assert_eq!((mode(&data), fs::read_dir(&data).expect("read").count()), (0o755, 1));

    fs::rename(data.join("thesis.tex"), data.join("server.log")).expect("renamed");
    let running = Running::start(config(home.path())).await;
    assert_eq!(mode(&data), 0o700);
    running.end().await;
}

#[tokio::test]
async fn addresses_that_others_can_reach_are_refused() {
    let home = tempfile::tempdir().expect("a directory");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let listen = Some(address.parse().expect("an address"));
        let said = refusal(Config { listen, ..config(home.path()) }).await;
        let expected = format!(
            "`{address}` can be reached from other machines, which the service does not allow; listen on 127.0.0.1 \
             or [::1]"
        );
        assert_eq!(said, expected);
    }
    assert!(!home.path().join("data").exists(), "nothing was begun");
}

#[tokio::test]
async fn socket_paths_are_short() {
    let home = private_home();
    let with_length = |n_bytes: usize| {
        let directory = home.path().as_os_str().len() + 1;
        home.path().join("s".repeat(n_bytes - directory))
    };
    let long = with_length(108);
    let said = refusal(Config { socket: Some(long.clone()), ..config(home.path()) }).await;
    let expected = format!(
        "the socket's path `{}` has 108 bytes, at most 107 are possible; choose a shorter one with `--socket`",
        long.display()
    );
    assert_eq!(said, expected);
    Running::start(Config { socket: Some(with_length(107)), ..config(home.path()) }).await.end().await;
}

#[tokio::test]
async fn socket_in_a_directory_of_all_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let shared = home.path().join("shared");
    fs::create_dir(&shared).expect("made");
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).expect("set");
    let said = refusal(Config { socket: Some(shared.join("ftl.sock")), ..config(home.path()) }).await;
    let expected = format!(
        "the socket's directory `{}` is open to others (mode 755); choose one that is yours alone (0700)",
        shared.display()
    );
    assert_eq!(said, expected);
}

#[tokio::test]
async fn socket_that_nobody_answers_on_gives_way_and_no_other() {
    let home = private_home();
    let socket = home.path().join("ftl.sock");
    let at = |socket: &Path| Config { socket: Some(socket.to_owned()), ..config(home.path()) };

    let other = UnixListener::bind(&socket).expect("a socket");
    let said = refusal(at(&socket)).await;
    let expected =
        format!("another service answers on `{}`; choose another socket with `--socket`", socket.display());
    assert_eq!(said, expected);
    assert!(socket.exists(), "it is the other's");

    // Its file stays when it dies.
    drop(other);
    let running = Running::start(at(&socket)).await;
    Client::connect(&Endpoint::Unix(socket.clone())).await.expect("it answers");
    running.end().await;

    fs::write(&socket, "notes").expect("written");
    let said = refusal(at(&socket)).await;
    let expected =
        format!("`{}` is there and no socket; choose another path with `--socket`", socket.display());
    assert_eq!(said, expected);
    assert_eq!(fs::read_to_string(&socket).expect("it stays"), "notes");
}

#[tokio::test]
async fn token_that_others_can_read_or_that_is_none_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let on_tcp = || Config { listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..config(home.path()) };
    Running::start(on_tcp()).await.end().await;
    let token = home.path().join("data/token");

    fs::set_permissions(&token, Permissions::from_mode(0o640)).expect("set");
    let expected = format!(
        "the token file `{}` can be read by others (mode 640); delete it, and a new one is made",
        token.display()
    );
    assert_eq!(refusal(on_tcp()).await, expected);
    fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("set");
    for text in ["", "secret\n", &"g".repeat(64)] {
        fs::write(&token, text).expect("written");
        let expected =
            format!("the token file `{}` holds no token; delete it, and a new one is made", token.display());
        assert_eq!(refusal(on_tcp()).await, expected);
    }
}

#[tokio::test]
async fn caller_who_does_not_leave_does_not_keep_the_service() {
    let home = tempfile::tempdir().expect("a directory");
    let running = Running::start(config(home.path())).await;
    // A connection without a word, and a stream of another service's that nobody ends.
    let silent = tokio::net::UnixStream::connect(&running.ready.socket).await.expect("it listens");
    let channel = super::support::channel(&running.ready.socket).await;
    let (_open, requests) = tokio::sync::mpsc::channel(1);
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = reflection
        .server_reflection_info(tokio_stream::wrappers::ReceiverStream::new(requests))
        .await
        .expect("it is served");
    running.end().await;
    drop((silent, answers));
}
