//! Who is told about a run.

use crate::event::Event;

/// Receives every [`Event`] of a run in order. Called on the training thread: be quick.
pub trait Observer {
    /// Takes note of `event`.
    fn observe(&mut self, event: &Event);
}

impl<F: FnMut(&Event)> Observer for F {
    fn observe(&mut self, event: &Event) {
        self(event);
    }
}
