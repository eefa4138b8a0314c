//! The whole service as its users meet it: the compiled program on a socket of its own, spoken to by the client.

mod alone;
mod checkpoints;
mod command_line;
mod database;
mod demo;
mod killed;
mod no_room;
mod states;
mod support;
mod watchers;
