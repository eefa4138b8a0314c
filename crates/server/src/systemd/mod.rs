//! The service under systemd: a user's unit with a socket of its own (`packaging/systemd`).
//!
//! | file | does |
//! |---|---|
//! | `inherited` | takes over the sockets that systemd has opened |
//! | `notify` | tells systemd what the service is doing |
//! | `watchdog` | tells it that the service lives, which the store's writer must say first |
//! | `units` | the two unit files |
//! | `install` | writes them for a user, and takes them away |
//!
//! Without systemd nothing of this is seen.

mod inherited;
pub mod install;
pub mod notify;
pub mod units;
pub mod watchdog;

pub use inherited::{Inherited, InheritedError};
