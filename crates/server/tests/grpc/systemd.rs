//! The service under systemd, with a test in systemd's place: what it is told, the sockets it hands over, the units.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ftl_client::{Client, Endpoint};
use ftl_server::systemd::install::{self, Change, InstallError};
use ftl_server::systemd::units::{SERVICE, SOCKET, units};
use ftl_server::systemd::watchdog::every_answer;
use tempfile::TempDir;

use super::support::LONG;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ftl-server");

/// Systemd's end of the notifications.
struct Listener {
    home: TempDir,
    socket: UnixDatagram,
}

impl Listener {
    fn new() -> Self {
        let home = private();
        let socket = UnixDatagram::bind(home.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(LONG)).expect("set");
        Self { home, socket }
    }

    /// Waits for a message that has `line`, and gives it back with when it came.
    fn wait_for(&self, line: &str) -> (String, Instant) {
        let mut bytes = [0; 4096];
        loop {
            let n_bytes = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no `{line}`: {error}"));
            let text = String::from_utf8_lossy(&bytes[..n_bytes]).into_owned();
            if text.lines().any(|found| found == line) {
                return (text, Instant::now());
            }
        }
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--data-dir").arg(self.home.path().join("data"));
        command.env("NOTIFY_SOCKET", self.home.path().join("notify"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

fn private() -> TempDir {
    let mode = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(mode).tempdir().expect("a directory")
}

fn end(mut child: Child) {
    // SAFETY: kill only sends a signal, to a child that nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn systemd_hears_of_the_start_the_pulse_and_the_end() {
    let systemd = Listener::new();
    let child = systemd.serve().env("WATCHDOG_USEC", "300000").spawn().expect("the program");
    let (starting, _) = systemd.wait_for("EXTEND_TIMEOUT_USEC=600000000");
    assert!(!starting.contains("READY"), "{starting}");
    let (ready, _) = systemd.wait_for("READY=1");
    let socket = systemd.home.path().join("data/ftl.sock");
    assert!(ready.contains(&format!("STATUS=listens on unix:{}", socket.display())), "{ready}");
    std::os::unix::net::UnixStream::connect(&socket).expect("what is ready can be reached");
    let (_, first) = systemd.wait_for("WATCHDOG=1");
    systemd.wait_for("WATCHDOG=1");
    let (_, third) = systemd.wait_for("WATCHDOG=1");
    // A third of the limit between two.
    assert!(third.duration_since(first) >= Duration::from_millis(150), "{:?}", third - first);
    // SAFETY: kill only sends a signal, to a child that nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
    systemd.wait_for("STOPPING=1");
    let mut child = child;
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

#[test]
fn journal_is_told_the_priority_of_each_line_and_others_are_not() {
    for is_journal in ["the journal", "another file"] {
        let systemd = Listener::new();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let writer = std::fs::File::from(OwnedFd::from(writer));
        let metadata = writer.metadata().expect("of a pipe");
        let inode = metadata.ino() + u64::from(is_journal != "the journal");
        let mut command = systemd.serve();
        command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev())).stderr(writer);
        let child = command.spawn().expect("the program");
        drop(command);
        systemd.wait_for("READY=1");
        end(child);
        let text = std::io::read_to_string(reader).expect("text");
        let line = text.lines().find(|line| line.contains("the service is ready")).expect("a line");
        let has_priority = line.starts_with("<6> INFO ftl_server");
        assert_eq!(has_priority, is_journal == "the journal", "{text}");
        assert!(has_priority || line.starts_with("20"), "{text}");
    }
}

#[test]
fn watchdog_of_another_process_is_none_of_ours() {
    let systemd = Listener::new();
    let mut command = systemd.serve();
    let child = command.env("WATCHDOG_USEC", "1").env("WATCHDOG_PID", "1").spawn().expect("the program");
    systemd.wait_for("READY=1");
    end(child);
}

#[tokio::test]
async fn nothing_is_said_while_the_writer_does_not_answer() {
    let n_said = AtomicU32::new(0);
    let n_asked = AtomicU32::new(0);
    let hangs_at_the_third = || {
        let number = n_asked.fetch_add(1, Ordering::Relaxed);
        async move {
            if number == 2 {
                std::future::pending::<()>().await;
            }
            true
        }
    };
    let said = |_| {
        n_said.fetch_add(1, Ordering::Relaxed);
    };
    let pulse = every_answer(Duration::from_millis(10), hangs_at_the_third, said);
    let ended = tokio::time::timeout(Duration::from_millis(300), pulse).await;
    assert!(ended.is_err(), "it waits for the answer");
    assert_eq!((n_asked.load(Ordering::Relaxed), n_said.load(Ordering::Relaxed)), (3, 2));

    // The same with a writer that goes on.
    let pulse = every_answer(Duration::from_millis(10), || async { true }, said);
    let _ = tokio::time::timeout(Duration::from_millis(300), pulse).await;
    assert!(n_said.load(Ordering::Relaxed) > 4);
    // One that is gone is asked no more.
    every_answer(Duration::from_millis(10), || async { false }, |_| panic!("it is gone")).await;
}

/// A program that opens sockets as systemd does, and starts ours for the first caller.
fn activated(home: &Path, sockets: &[&str]) -> Command {
    let mut command = Command::new("systemd-socket-activate");
    for socket in sockets {
        command.arg(format!("--listen={socket}"));
    }
    command.args([PROGRAM, "serve", "--data-dir"]).arg(home.join("data"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[tokio::test]
async fn service_takes_over_the_sockets_of_systemd_and_leaves_them() {
    if !is_there("systemd-socket-activate") {
        eprintln!("skipped: there is no systemd-socket-activate");
        return;
    }
    let home = private();
    let socket = home.path().join("ftl.sock");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let child =
        activated(home.path(), &[&socket.display().to_string(), &free.to_string()]).spawn().expect("it");
    until_there(&socket).await;
    let data = home.path().join("data");
    assert!(!data.exists(), "nobody has called yet");
    let client = Client::connect(&Endpoint::Unix(socket.clone())).await.expect("it is started for us");
    assert_eq!(client.system_info().await.expect("it answers").data_directory, data);
    let token = std::fs::read_to_string(data.join("token")).expect("a token for TCP").trim().to_owned();
    let endpoint = Endpoint::Http { url: format!("http://{free}"), token: Some(token) };
    Client::connect(&endpoint).await.expect("it answers there too").system_info().await.expect("it answers");
    drop(client);
    tokio::task::spawn_blocking(move || end(child)).await.expect("no panic");
    assert!(socket.exists(), "it is systemd's");
}

async fn until_there(socket: &Path) {
    let until = Instant::now() + LONG;
    while !socket.exists() {
        assert!(Instant::now() < until, "{} is not there", socket.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It is bound before it listens.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[test]
fn strange_sockets_are_refused() {
    if !is_there("systemd-socket-activate") {
        eprintln!("skipped: there is no systemd-socket-activate");
        return;
    }
    let home = private();
    let path = |name: &str| home.path().join(name).display().to_string();
    let free = std::net::TcpListener::bind("0.0.0.0:0").expect("a port").local_addr().expect("an address");
    let cases = [
        (vec![path("a.sock"), path("b.sock")], "two Unix sockets were inherited", 78),
        (vec!["@ftl-test-abstract".to_owned()], "is neither a listening Unix stream socket with a path", 78),
        (vec![path("c.sock"), free.to_string()], "can be reached from other machines", 2),
    ];
    for (sockets, expected, code) in cases {
        let sockets: Vec<&str> = sockets.iter().map(String::as_str).collect();
        let mut command = activated(home.path(), &sockets);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program");
        let until = Instant::now() + LONG;
        // The first caller starts the service.
        while child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < until);
            if let Some(address) = sockets[0].strip_prefix('@') {
                use std::os::linux::net::SocketAddrExt;
                let address = std::os::unix::net::SocketAddr::from_abstract_name(address).expect("a name");
                let _ = std::os::unix::net::UnixStream::connect_addr(&address);
            } else {
                let _ = std::os::unix::net::UnixStream::connect(sockets[0]);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().expect("a child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{said}");
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}

#[test]
fn units_please_systemd_whatever_the_program_is_called() {
    if !is_there("systemd-analyze") {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    }
    let home = private();
    for name in ["ftl-server", "a b", "50%", "$HOME", "ä"] {
        let program = home.path().join(name);
        std::fs::copy("/bin/true", &program).expect("copied");
        let units = units(&program, Some("127.0.0.1:8765".parse().expect("an address"))).expect("writable");
        install::verify(&units).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // That it is really asked: a key that it does not know, and a program that is not there.
    let mut wrong = units(&home.path().join("ftl-server"), None).expect("writable");
    wrong[0].text = wrong[0].text.replace("OOMPolicy=", "OOMPolice=");
    let error = install::verify(&wrong).expect_err("an unknown key");
    assert!(error.to_string().contains("Unknown key"), "{error}");
    let error =
        install::verify(&units(&home.path().join("gone"), None).expect("writable")).expect_err("gone");
    assert!(error.to_string().contains("is not executable"), "{error}");
}

#[test]
fn units_are_what_was_decided() {
    let [service, socket] = units(Path::new(PROGRAM), None).expect("writable");
    for line in [
        "Type=notify",
        "Restart=on-failure",
        "RestartPreventExitStatus=78",
        "WatchdogSec=30",
        "KillMode=control-group",
        "TimeoutStopSec=180",
        "OOMPolicy=continue",
        "UMask=0077",
        &format!("ExecStart={PROGRAM} serve"),
    ] {
        assert!(service.text.lines().any(|found| found == line), "{line} is not in {}", service.text);
    }
    let settings: HashMap<&str, &str> = service
        .text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    // They imply NoNewPrivileges, or put files elsewhere.
    for key in ["NoNewPrivileges", "StateDirectory", "PrivateDevices", "ProtectSystem", "SystemCallFilter"] {
        assert!(!settings.contains_key(key), "{key}");
    }
    assert!(socket.text.contains("ListenStream=%t/finetunelab/ftl.sock\n"), "{}", socket.text);
    assert!(socket.text.contains("SocketMode=0600\nDirectoryMode=0700\n"), "{}", socket.text);
}

#[test]
fn units_are_written_once_replaced_when_they_differ_and_never_over_others() {
    let home = private();
    let directory = home.path().join("systemd/user");
    let first = units(Path::new(PROGRAM), None).expect("writable");
    let changes =
        |found: Vec<(PathBuf, Change)>| found.into_iter().map(|(_, change)| change).collect::<Vec<_>>();
    let write = |units| install::write(&directory, units).map(changes).map_err(|error| error.to_string());
    assert_eq!(write(&first), Ok(vec![Change::Written, Change::Written]));
    assert_eq!(write(&first), Ok(vec![Change::Same, Change::Same]));
    let second =
        units(Path::new(PROGRAM), Some("127.0.0.1:1".parse().expect("an address"))).expect("writable");
    assert_eq!(write(&second), Ok(vec![Change::Replaced, Change::Same]));
    assert_eq!(std::fs::read_to_string(directory.join(SERVICE)).expect("written"), second[0].text);

    std::fs::write(directory.join(SOCKET), "[Socket]\n").expect("written");
    let error = install::write(&directory, &first).expect_err("it is somebody else's");
    assert!(matches!(error, InstallError::Foreign(_)), "{error}");
    assert_eq!(std::fs::read_to_string(directory.join(SERVICE)).expect("it stays"), second[0].text);
    assert!(install::remove(&directory).is_err());
    std::fs::remove_file(directory.join(SOCKET)).expect("removed");
    assert_eq!(install::remove(&directory).expect("ours"), [directory.join(SERVICE)]);
    assert_eq!(install::remove(&directory).expect("nothing is left"), Vec::<PathBuf>::new());
}

/// `ftl-server install` with programs in the place of systemd's that write down how they are called.
struct Fake {
    home: TempDir,
}

impl Fake {
    fn new() -> Self {
        let home = private();
        for name in ["systemctl", "loginctl"] {
            let script = format!("#!/bin/sh\necho {name} \"$@\" >> {}/calls\n", home.path().display());
            // The service does not run yet.
            let script = script + "case \"$*\" in *is-active*) exit 3;; esac\n";
            let path = home.path().join(name);
            std::fs::write(&path, script).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        }
        Self { home }
    }

    fn install(&self, flags: &[&str]) -> (Option<i32>, String) {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(PROGRAM)
            .arg("install")
            .args(flags)
            .env("PATH", format!("{}:{path}", self.home.path().display()))
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("XDG_DATA_HOME", self.home.path().join("share"))
            .output()
            .expect("the program");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// What systemd was asked to do, without what was only asked.
    fn calls(&self) -> Vec<String> {
        let path = self.home.path().join("calls");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        let asks = |line: &str| ["show-environment", "is-active"].iter().any(|word| line.contains(word));
        text.lines().filter(|line| !asks(line)).map(str::to_owned).collect()
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.home.path().join("config/systemd/user").join(name)
    }
}

#[test]
fn install_writes_says_what_is_next_starts_and_takes_away() {
    let systemd = Fake::new();
    let (code, said) = systemd.install(&["--user"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("wrote {}", systemd.unit(SERVICE).display())), "{said}");
    assert!(
        said.contains("  systemctl --user enable --now ftl-server.socket ftl-server.service\n"),
        "{said}"
    );
    assert!(said.contains("  loginctl enable-linger\n"), "{said}");
    assert_eq!(systemd.calls(), Vec::<String>::new(), "nothing is started");
    let text = std::fs::read_to_string(systemd.unit(SERVICE)).expect("written");
    assert!(text.contains(&format!("ExecStart={PROGRAM} serve\n")), "{text}");

    let (code, said) = systemd.install(&["--user", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is up to date"), "{said}");
    let expected = [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now ftl-server.socket ftl-server.service",
        "loginctl enable-linger",
    ];
    assert_eq!(systemd.calls(), expected);

    let (code, said) = systemd.install(&["--user", "--uninstall"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!systemd.unit(SERVICE).exists() && !systemd.unit(SOCKET).exists(), "{said}");
    let expected = [
        "systemctl --user disable --now ftl-server.service ftl-server.socket",
        "systemctl --user daemon-reload",
    ];
    assert_eq!(systemd.calls(), expected);
}

#[test]
fn install_refuses_where_there_is_no_systemd_and_prints_all_the_same() {
    let systemd = Fake::new();
    std::fs::write(systemd.home.path().join("systemctl"), "#!/bin/sh\necho no bus >&2\nexit 1\n")
        .expect("written");
    let (code, said) = systemd.install(&["--user"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no systemd runs for this user (`systemctl --user` says: no bus)"), "{said}");
    assert!(!systemd.unit(SERVICE).exists());
    let (code, said) = systemd.install(&["--user", "--print", "--listen", "127.0.0.1:8765"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("ExecStart={PROGRAM} serve --listen 127.0.0.1:8765\n")), "{said}");
    assert!(said.contains("\n# ftl-server.socket\n"), "{said}");
    let cases: [(&[&str], &str); 4] = [
        (&[], "--user"),
        (&["--user", "--now", "--uninstall"], "cannot be used with"),
        (&["--user", "--print", "--listen", "0.0.0.0:1"], "can be reached from other machines"),
        (&["--user", "--listen", "localhost"], "invalid socket address"),
    ];
    for (flags, expected) in cases {
        let (code, said) = systemd.install(flags);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{flags:?}: {said}");
    }
}

#[test]
fn install_does_not_take_the_socket_of_a_service_that_runs() {
    let systemd = Fake::new();
    let data = systemd.home.path().join("share/finetunelab");
    let listener = Listener::new();
    let mut command = Command::new(PROGRAM);
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(&data)
        .env("NOTIFY_SOCKET", listener.home.path().join("notify"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program");
    listener.wait_for("READY=1");
    let (code, said) = systemd.install(&["--user", "--now"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("process {}", child.id())), "{said}");
    assert_eq!(systemd.calls(), Vec::<String>::new());
    end(child);
}

#[test]
fn unit_names_the_link_that_the_program_was_called_by() {
    let systemd = Fake::new();
    let link = systemd.home.path().join("ftl-server");
    std::os::unix::fs::symlink(PROGRAM, &link).expect("linked");
    let output = Command::new(&link).args(["install", "--user", "--print"]).output().expect("the program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!("ExecStart={} serve\n", link.display())), "{text}");
}
