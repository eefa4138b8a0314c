//! The handle against a server that answers what a test tells it to, over real sockets.

mod calls;
mod connecting;
mod fake;
mod repeats;
mod streams;
mod uploads;

#[path = "../wire_conversions/draw/mod.rs"]
#[expect(dead_code, reason = "only full values are needed here, not random ones")]
mod draw;
