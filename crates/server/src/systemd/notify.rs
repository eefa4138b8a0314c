//! What systemd is told (sd_notify(3)): that the service can be reached, what it does, that it ends. Says nothing where
//! nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// A start brings the database up to date, a copy of it first, and takes in what dead workers left: systemd's 90 seconds
/// may be too short for that.
const START_WITHIN: Duration = Duration::from_secs(600);

/// The service begins.
pub fn starting() {
    let micros = u32::try_from(START_WITHIN.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Status("opens its database"), NotifyState::ExtendTimeoutUsec(micros)]);
}

/// The service can be reached.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The service ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("workers save and end")]);
}

/// The service lives.
pub fn lives() {
    tell(&[NotifyState::Watchdog]);
}

/// How long the service may be silent; `None`: nobody watches.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be told what the service does");
    }
}
