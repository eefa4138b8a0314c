//! Runs kernels: the threads of a block take turns as coroutines of one thread of the computer, blocks run side by side.

mod block;
mod calls;
mod copies;
mod launch;
mod products;
mod warp;

pub use copies::{Swizzle, TensorMap};
pub use launch::{Launch, launch};
