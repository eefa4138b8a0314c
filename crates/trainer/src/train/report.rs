//! Tells the caller's observer and the event log the same things.

use std::path::Path;

use ftl_core::event::NoteLevel;
use ftl_core::job::Phase;
use ftl_core::{Event, Observer};

use crate::error::TrainError;
use crate::train::event_log::EventLog;

/// The observer and the log of a run.
pub struct Reporter<'a> {
    observer: &'a mut dyn Observer,
    log: EventLog,
    failed: Option<TrainError>,
}

impl<'a> Reporter<'a> {
    /// Nothing is written until [`open`](Self::open).
    pub fn new(observer: &'a mut dyn Observer) -> Self {
        Self { observer, log: EventLog::default(), failed: None }
    }

    /// Begins to write to `path`.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn open(&mut self, path: &Path) -> Result<(), TrainError> {
        self.log.open(path)
    }

    /// Gives back the first event that could not be written; observers can't fail, so the run asks.
    ///
    /// # Errors
    /// [`TrainError::File`] of that event.
    pub fn check(&mut self) -> Result<(), TrainError> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl Observer for Reporter<'_> {
    fn observe(&mut self, event: &Event) {
        self.observer.observe(event);
        if let Err(error) = self.log.record(event) {
            self.failed.get_or_insert(error);
        }
    }
}

/// Says what the run is busy with.
pub fn phase(observer: &mut dyn Observer, phase: Phase) {
    observer.observe(&Event::Phase { phase, done: None, total: None, unit: None });
}

/// Says something that is good to know.
pub fn note(observer: &mut dyn Observer, message: String) {
    observer.observe(&Event::Note { level: NoteLevel::Info, message });
}

/// Says that something else is done than the user may expect.
pub fn warn(observer: &mut dyn Observer, message: String) {
    observer.observe(&Event::Note { level: NoteLevel::Warning, message });
}
