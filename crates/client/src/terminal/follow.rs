//! A run as it goes on: drawn in place on a terminal, as plain lines elsewhere. Everything goes to stderr.

use std::io::{self, Write as _};

use ftl_core::Event;
use ftl_core::event::NoteLevel;
use ftl_core::job::{Job, JobEvent};

use super::figures::{clean, now_unix_ms};
use super::screen::Screen;
use super::{Lines, Run};

/// Shows a job while its events come. Dropping it restores the terminal.
pub struct Follow {
    run: Run,
    lines: Lines,
    screen: Option<Screen>,
}

impl Follow {
    /// Begins to show a job.
    pub fn new(job: &Job) -> Self {
        let mut follow = Self { run: Run::new(job), lines: Lines::default(), screen: Screen::open() };
        follow.tick();
        follow
    }

    /// Takes an event in. On a terminal it is seen with the next [`tick`](Follow::tick), so that a thousand events
    /// cost one picture.
    pub fn show(&mut self, event: &JobEvent) {
        self.run.take(event);
        let line = self.lines.line(&self.run, event);
        match &mut self.screen {
            // What should not scroll away with the view.
            Some(screen) => {
                if let Event::Note { level: NoteLevel::Warning, message } = &event.record.event {
                    let shown = screen.above(&format!("warning: {}", clean(message)));
                    self.keep_going(shown);
                }
            }
            None => {
                if let Some(line) = line {
                    say(&line);
                }
            }
        }
    }

    /// Draws what is known now. Call it a few times a second.
    pub fn tick(&mut self) {
        if let Some(screen) = &mut self.screen {
            let drawn = screen.draw(&self.run, now_unix_ms());
            self.keep_going(drawn);
        }
    }

    /// What is known of the run so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Ends the view with a last picture that stays, and gives what was learned.
    pub fn end(mut self) -> Run {
        self.tick();
        let Self { run, lines: _, screen } = self;
        if let Some(screen) = screen {
            // Where the terminal is gone there is nothing to restore.
            let _ = screen.close();
        }
        run
    }

    /// A terminal that can't be drawn on any more gets plain lines.
    fn keep_going(&mut self, drawn: io::Result<()>) {
        if drawn.is_err() {
            self.screen = None;
        }
    }
}

fn say(line: &str) {
    // Nobody reads it any more; the job goes on all the same.
    let _ = writeln!(io::stderr(), "{line}");
}
