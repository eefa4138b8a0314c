//! What is drawn in a terminal: a job that is followed, its summary, tables, and figures as text.
//!
//! [`Run`] takes events in and knows no terminal; [`draw()`] and [`Lines`] show it, [`Follow`] chooses between the two.
//! Whom the events come from is the caller's business.

mod curve;
mod draw;
mod figures;
mod follow;
mod lines;
mod pace;
mod run;
mod screen;
mod summary;
mod table;

pub use curve::Curve;
pub use draw::{HEIGHT, draw};
pub use figures::{age, bytes, clean, count, duration, learning_rate, loss, now_unix_ms};
pub use follow::Follow;
pub use lines::Lines;
pub use pace::{Eta, Pace, Smoothed};
pub use run::{HeldOut, Run, Work};
pub use summary::Summary;
pub use table::{Align, Cell, Paint, Table, state_color};
