//! The program in a terminal: a pseudo-terminal whose other side is read by a thread into a screen in memory.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::wait_until;

/// A program in a terminal.
pub struct Pty {
    child: Child,
    input: File,
    /// Kept open, so that the terminal's state can be looked at after the program.
    terminal: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Pty {
    /// Starts a program in a terminal of 24 rows of 80 columns.
    pub fn start(command: Command) -> Self {
        Self::start_in(command, (24, 80))
    }

    /// Starts a program in a terminal of so many rows of so many columns.
    pub fn start_in(mut command: Command, (rows, columns): (u16, u16)) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&controller).expect("it is ours");
        unlockpt(&controller).expect("it can be opened");
        let name = ptsname(&controller, Vec::new()).expect("its name");
        let path = std::ffi::OsStr::from_bytes(name.as_bytes());
        let terminal = OpenOptions::new().read(true).write(true).open(path).expect("its other side");
        tcsetwinsize(&terminal, size(rows, columns)).expect("its size");
        let side = || Stdio::from(OwnedFd::from(terminal.try_clone().expect("another handle")));
        command.env("TERM", "xterm-256color").stdin(side()).stdout(side()).stderr(side());
        // SAFETY: both calls are plain system calls, which are allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().expect("the program starts");
        let input = File::from(controller.as_fd().try_clone_to_owned().expect("another handle"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 1_000)));
        let reader = Reader {
            from: controller.into(),
            to: input.try_clone().expect("a handle"),
            screen: screen.clone(),
        };
        std::thread::spawn(move || reader.read());
        Self { child, input, terminal, screen }
    }

    /// Types something.
    pub fn type_in(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Makes the terminal another size, as dragging its window does.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.screen.lock().expect("a whole screen").screen_mut().set_size(cells(rows), cells(columns));
        tcsetwinsize(&self.terminal, size(rows, columns)).expect("a size");
    }

    /// What is on the screen, without the spaces that end its lines.
    pub fn screen(&self) -> String {
        let contents = self.screen.lock().expect("a whole screen").screen().contents();
        contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// Whether the cursor can be seen, and what is typed.
    pub fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("the terminal's modes").local_modes;
        let hides_cursor = self.screen.lock().expect("a whole screen").screen().hide_cursor();
        !hides_cursor && modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the screen shows something.
    pub fn wait_for(&self, text: &str) {
        let deadline = std::time::Instant::now() + super::DEADLINE;
        while !self.screen().contains(text) {
            assert!(std::time::Instant::now() < deadline, "no `{text}` on the screen:\n{}", self.screen());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Waits until the program ends, and gives its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let mut code = None;
        let Self { child, .. } = self;
        wait_until("the program ends", || {
            let status = child.try_wait().expect("the program can be waited for");
            code = status.map(|status| status.code());
            status.is_some()
        });
        code.flatten()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // A test that failed leaves no program behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

struct Reader {
    from: File,
    to: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Reader {
    /// Draws what comes until the terminal is closed, and answers where the cursor is.
    fn read(mut self) {
        let mut bytes = [0; 4_096];
        while let Ok(n @ 1..) = self.from.read(&mut bytes) {
            let mut rest = &bytes[..n];
            const WHERE: &[u8] = b"\x1b[6n";
            while let Some(at) = rest.windows(WHERE.len()).position(|window| window == WHERE) {
                let (row, column) = {
                    let mut screen = self.screen.lock().expect("a whole screen");
                    screen.process(&rest[..at]);
                    screen.screen().cursor_position()
                };
                write!(self.to, "\x1b[{};{}R", row + 1, column + 1).expect("the terminal takes input");
                rest = &rest[at + WHERE.len()..];
            }
            self.screen.lock().expect("a whole screen").process(rest);
        }
    }
}

fn cells(n: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(n).expect("a terminal has rows and columns")
}
