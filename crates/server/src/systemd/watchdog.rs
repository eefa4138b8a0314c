//! The watchdog. A timer would say that the process runs; what has to live is the thread that writes to the database,
//! since nothing is promised before it has answered. So it is asked, and systemd hears of the service only when it has
//! answered; a service that hangs is killed and started again, and goes on from what is on disk.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use ftl_store::{Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

use super::notify;
use crate::telemetry::metrics::Metrics;

/// Between two questions where nobody watches; the metrics tell of the answers.
const EVERY: Duration = Duration::from_secs(10);

/// Asks the store's writer again and again, and tells systemd of its answers.
pub async fn watch(store: Store, metrics: Metrics) -> Infallible {
    // sd_watchdog_enabled(3) recommends half of the limit; a third leaves room for a slow answer.
    let every = notify::watchdog().map_or(EVERY, |limit| limit / 3);
    let ask = || async {
        match store.writer_lives().await {
            Ok(()) => true,
            Err(StoreError::Closed) => false,
            // It has answered.
            Err(_) => true,
        }
    };
    let answered = |after| {
        metrics.writer_answered(after);
        notify::lives();
    };
    every_answer(every, ask, answered).await;
    // Whoever waits for this is not to end for it; without an answer systemd will see to it.
    std::future::pending().await
}

/// Asks `ask` every so often and calls `answered` with how long a good answer took. One question at a time: while one
/// is not answered, nothing is said.
pub async fn every_answer<F: Future<Output = bool>>(
    every: Duration,
    mut ask: impl FnMut() -> F,
    mut answered: impl FnMut(Duration),
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        if !ask().await {
            warn!("the thread that writes to the database is gone");
            return;
        }
        let took = asked.elapsed();
        if took >= every {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            warn!(millis, "the thread that writes to the database was slow to answer");
        }
        answered(took);
    }
}
