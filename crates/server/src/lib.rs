//! FineTune Lab's service: takes jobs over gRPC, keeps them, and gives them to worker processes one after the other.
//!
//! **Empty so far.** `ftl-train` runs one job in the foreground without it.
//!
//! The crate will be what connects the others: handlers that convert and call, the queue and the supervisor of the
//! workers, and the guard of the port. Everything that touches a model or a user's file will run in a child process,
//! so that a crash ends one job and not the service. SQL is `ftl-store`'s, tensors are `ftl-trainer`'s, conversions
//! from the wire are `ftl-client`'s.
