//! A handle on a FineTune Lab server, in core's types over gRPC.
//!
//! [`Client`] does what the server can do; [`wire`] holds the code generated from `proto/` and every conversion between
//! it and `ftl-core`. What a job means is core's, what becomes of it is the server's; nothing here reads a model or a
//! dataset.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ftl_client::{Client, Endpoint};
//! use ftl_core::JobSpec;
//! use tokio_stream::StreamExt as _;
//!
//! let endpoint: Endpoint = "unix:/run/user/1000/finetunelab/socket".parse()?;
//! let client = Client::connect(&endpoint).await?;
//! let job = client.create_job(&JobSpec::default(), None).await?;
//! let mut events = client.watch_events(&job.id, 0);
//! while let Some(event) = events.next().await {
//!     println!("{:?}", event?.record.event);
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod endpoint;
mod error;
#[cfg(feature = "cli")]
pub mod places;
#[cfg(feature = "cli")]
pub mod terminal;
pub mod wire;

pub use client::{BackedUp, Client, FileToSend, Follow, Limits, Show};
pub use endpoint::Endpoint;
pub use error::ClientError;
