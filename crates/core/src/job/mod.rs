//! Where a job stands: its [`State`], its [`Phase`], and the one function that says which state may follow which.

mod phase;
mod state;

pub use phase::Phase;
pub use state::{IllegalTransition, State};
