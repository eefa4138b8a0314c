//! The two unit files of `packaging/systemd`, inside the program, with the place of a program filled in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The unit that runs the service.
pub const SERVICE: &str = "ftl-server.service";
/// The unit that listens for it.
pub const SOCKET: &str = "ftl-server.socket";

const SERVICE_TEXT: &str = include_str!("../../../../packaging/systemd/ftl-server.service");
const SOCKET_TEXT: &str = include_str!("../../../../packaging/systemd/ftl-server.socket");
/// The line that names the program of a package.
const PACKAGED: &str = "ExecStart=/usr/bin/ftl-server serve\n";

/// A unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its file's name.
    pub name: &'static str,
    /// Its whole text.
    pub text: String,
}

/// The path can't be written into a unit file.
#[derive(Debug, thiserror::Error)]
#[error(
    "systemd starts no program at `{0}`: a path in a unit has no control characters, quotes or backslashes, and is UTF-8; \
     move it"
)]
pub struct UnwritablePath(PathBuf);

/// The units for the program at `program`, an absolute path, which also listens on `listen`.
///
/// # Errors
/// [`UnwritablePath`].
pub fn units(program: &Path, listen: Option<SocketAddr>) -> Result<[Unit; 2], UnwritablePath> {
    let is_taken = |c: char| !c.is_control() && !['"', '\'', '\\'].contains(&c);
    let path = program.to_str().filter(|path| path.chars().all(is_taken));
    let path = path.ok_or_else(|| UnwritablePath(program.to_owned()))?;
    let listen = listen.map(|address| format!(" --listen {address}")).unwrap_or_default();
    let command = format!("ExecStart={} serve{listen}\n", quoted(path));
    let service = SERVICE_TEXT.replace(PACKAGED, &command);
    Ok([Unit { name: SERVICE, text: service }, Unit { name: SOCKET, text: SOCKET_TEXT.to_owned() }])
}

/// The program that a service unit starts, and where it also listens; `None` where the unit says something else.
pub fn command_of(text: &str) -> Option<(PathBuf, Option<SocketAddr>)> {
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    let (program, rest) = match line.strip_prefix('"') {
        Some(rest) => rest.rsplit_once("\" ")?,
        None => line.split_once(' ')?,
    };
    let listen = match rest.strip_prefix("serve")?.trim() {
        "" => None,
        flag => Some(flag.strip_prefix("--listen ")?.parse().ok()?),
    };
    Some((unquoted(program).into(), listen))
}

/// A percent sign begins a specifier, and white space ends a word (systemd.service(5), "Command lines"). A dollar means
/// nothing in the program's place: variables are for arguments.
fn quoted(path: &str) -> String {
    let escaped = path.replace('%', "%%");
    if escaped.contains(char::is_whitespace) { format!("\"{escaped}\"") } else { escaped }
}

fn unquoted(path: &str) -> String {
    path.replace("%%", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_of_a_unit_is_the_one_it_was_made_for() {
        let listens = [None, Some("127.0.0.1:8765".parse().unwrap()), Some("[::1]:80".parse().unwrap())];
        let paths = ["/usr/bin/ftl-server", "/home/a b/ftl-server", "/opt/50%/$HOME/ftl-server", "/ä/ftl"];
        for path in paths {
            for listen in listens {
                let [service, socket] = units(Path::new(path), listen).unwrap();
                assert_eq!(command_of(&service.text), Some((path.into(), listen)), "{}", service.text);
                assert_eq!(service.text.matches("ExecStart=").count(), 1);
                assert_eq!(command_of(&socket.text), None);
            }
        }
    }

    #[test]
    fn path_that_would_say_more_than_a_path_is_refused() {
        for path in
            ["/a\nRestart=no/ftl-server", "/a\" b/ftl-server", "/it's/ftl-server", "/a\\x20b/ftl-server"]
        {
            let error = units(Path::new(path), None).unwrap_err();
            assert!(error.to_string().starts_with("systemd starts no program at"), "{error}");
        }
    }
}
