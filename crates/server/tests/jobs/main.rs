//! The queue, its leases and the life of jobs, with workers that do what the test writes into a file instead of training,
//! and with GPUs that the test puts in and takes out.

mod harness;
mod leases;
mod life;
mod model;
mod start_from;
mod worker;
