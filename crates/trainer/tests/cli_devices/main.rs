//! What the program says where a piece that a GPU needs is missing or does not fit. The pieces are small libraries that the
//! test makes with the C compiler that linked it, and say what the environment tells them to; none can compute.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod doctor;
mod machine;
mod open;
