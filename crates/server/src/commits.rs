//! Who is told that a job has new committed events.
//!
//! Carries numbers, never events: a subscriber that hears a higher number reads the rows from the store, so that a
//! slow one costs nothing. A job that nobody listens to has no channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ftl_core::JobId;
use tokio::sync::watch;

/// The channels of all jobs that somebody listens to.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    channels: Arc<Mutex<HashMap<JobId, watch::Sender<u64>>>>,
}

impl Commits {
    /// Without a subscriber.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells a job's subscribers that everything up to `seq` is committed. Called by the store's writer, so it must
    /// not wait for anybody.
    pub fn published(&self, id: &JobId, seq: u64) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = channels.get(id)
            && sender.send(seq).is_err()
        {
            channels.remove(id);
        }
    }

    /// Hears of everything that is committed from now on. Subscribe first and read then, so that nothing falls
    /// between. The value is 0 until something is committed.
    pub fn subscribe(&self, id: &JobId) -> watch::Receiver<u64> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, sender| sender.receiver_count() > 0);
        channels.entry(id.clone()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Jobs that have a channel.
    pub fn n_channels(&self) -> usize {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
