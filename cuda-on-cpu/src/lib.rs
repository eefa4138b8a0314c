//! A CUDA driver that computes on the CPU; see README.md.
//!
//! `driver` is what a program calls, `ptx` makes C of what its compiler makes, and `run` runs that, a coroutine for each GPU
//! thread.

mod driver;
mod ptx;
mod run;
#[cfg(test)]
mod tests;

/// What can't be, or can't be done here, ends the program: a test must not go on after it.
#[macro_export]
macro_rules! give_up {
    ($($what:tt)*) => {{
        eprintln!("cuda-on-cpu: {}", format_args!($($what)*));
        std::process::abort()
    }};
}
