//! What a run is asked while it goes on: to stop, and to save.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stop::StopSignal;

/// A request for a checkpoint, shared between the run and whoever may want one. Clones share it.
///
/// It is taken once: two requests before the run gets to it make one checkpoint.
#[derive(Clone, Debug, Default)]
pub struct SaveSignal(Arc<AtomicBool>);

impl SaveSignal {
    /// A signal that nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a checkpoint after the step under way. Safe to call from a signal handler.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a checkpoint is asked for; from now on it is not, until it is asked for again.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// Everything that a run is asked from outside. Clones share the signals.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// To end early.
    pub stop: StopSignal,
    /// To save and go on.
    pub save: SaveSignal,
}

/// A run that is asked for no checkpoints but those of its spec.
impl From<&StopSignal> for Signals {
    fn from(stop: &StopSignal) -> Self {
        Self { stop: stop.clone(), save: SaveSignal::new() }
    }
}

impl From<&Signals> for Signals {
    fn from(signals: &Signals) -> Self {
        signals.clone()
    }
}
