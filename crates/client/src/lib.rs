//! A handle on a FineTune Lab server, in core's types over gRPC.
//!
//! **Empty so far.** There is no server to talk to; a Rust program that wants to train today embeds `ftl-trainer`.
//!
//! The crate will hold the code generated from `proto/`, every conversion between the wire and `ftl-core`, a `Client`
//! whose methods take and give core types alone, and `ftl`, the command line for people. What a job means is core's,
//! what becomes of it is the server's; nothing here reads a model or a dataset.
