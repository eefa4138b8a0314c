//! Conversions between core's types and the wire: what goes out comes back, and what has no meaning is refused by name.

mod draw;
mod identity;
mod refusals;
