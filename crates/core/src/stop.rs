//! How a run is asked to end early. It finishes what it can't repeat, saves, and returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Why a run should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A person asked for it (Ctrl-C, `ftl jobs stop`).
    User,
    /// The process is told to end (SIGTERM, shutdown).
    Shutdown,
}

/// A flag shared between the run and whoever may stop it. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    reason: AtomicU8,
    n_looks: AtomicU64,
}

impl StopSignal {
    /// A signal that nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to stop. The first reason stays. Safe to call from a signal handler.
    pub fn raise(&self, reason: StopReason) {
        let code = match reason {
            StopReason::User => 1,
            StopReason::Shutdown => 2,
        };
        // An error means that a reason was there already.
        let _ = self.0.reason.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The reason to stop, if there is one.
    pub fn raised(&self) -> Option<StopReason> {
        self.0.n_looks.fetch_add(1, Ordering::Relaxed);
        match self.0.reason.load(Ordering::SeqCst) {
            1 => Some(StopReason::User),
            2 => Some(StopReason::Shutdown),
            _ => None,
        }
    }

    /// How often [`raised`](Self::raised) was called. A run looks before every microbatch, lot of rows and generated
    /// token, so this is its pulse: while the number grows, the run gets on, however long a step takes.
    pub fn n_looks(&self) -> u64 {
        self.0.n_looks.load(Ordering::Relaxed)
    }
}
