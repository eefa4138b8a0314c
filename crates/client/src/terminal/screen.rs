//! The place in the terminal where a run is drawn again and again: some rows below what was there before, which stays
//! in the scrollback.
//!
//! The terminal is not put into raw mode: Ctrl-C stays a signal, and whoever owns the view decides what it means.
//! Whatever way the view ends, by returning, an error or a panic, dropping it shows the cursor and the user's typing
//! again.

use std::io::{self, IsTerminal, Stderr, Stdin, Write as _};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::terminal;
use ratatui::layout::Position;
use ratatui::text::Line;
use ratatui::widgets::Widget;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{HEIGHT, Run, draw};

/// A terminal with fewer rows gets plain lines.
const FEWEST_ROWS: u16 = 8;

/// The rows that a run is drawn into.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    _quiet: Quiet,
}

impl Screen {
    /// Makes room below the cursor; `None` where there is no terminal to draw on.
    ///
    /// Both stdout and stderr must be one: the view is drawn on stderr, but the terminal is asked for its cursor
    /// through stdout.
    pub(super) fn open() -> Option<Self> {
        if !io::stderr().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let (_, rows) = terminal::size().ok()?;
        if rows < FEWEST_ROWS {
            return None;
        }
        let quiet = Quiet::new();
        // One row less than there are, so that the command line above stays in sight.
        let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT.min(rows - 1)) };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stderr()), options).ok()?;
        Some(Self { terminal, _quiet: quiet })
    }

    /// Draws a run as it is now.
    pub(super) fn draw(&mut self, run: &Run, now_unix_ms: u64) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame, run, now_unix_ms))?;
        Ok(())
    }

    /// Puts a line above the view, where it stays.
    pub(super) fn above(&mut self, line: &str) -> io::Result<()> {
        self.terminal.insert_before(1, |buffer| Line::from(line).render(buffer.area, buffer))
    }

    /// Leaves the last picture where it is, with the cursor below it.
    pub(super) fn close(mut self) -> io::Result<()> {
        let area = self.terminal.get_frame().area();
        self.terminal.set_cursor_position(Position { x: 0, y: area.bottom().saturating_sub(1) })?;
        self.terminal.show_cursor()?;
        writeln!(io::stderr())
    }
}

/// While it lives, what is typed is not shown: it would stand in the picture.
struct Quiet {
    before: Option<(Stdin, Termios)>,
}

impl Quiet {
    fn new() -> Self {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Self { before: None } };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        match tcsetattr(&stdin, OptionalActions::Now, &quiet) {
            Ok(()) => Self { before: Some((stdin, before)) },
            Err(_) => Self { before: None },
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some((stdin, before)) = &self.before {
            // The terminal may be gone.
            let _ = tcsetattr(stdin, OptionalActions::Now, before);
        }
    }
}
