//! Answers of models.

use ftl_core::inference::{InferencePart, InferenceRequest};
use futures_util::Stream;
use tonic::{Status, Streaming};

use super::Client;
use super::connect::AuthorizedChannel;
use crate::error::ClientError;
use crate::wire::inference::InferenceCall;
use crate::wire::v1::inference_service_client::InferenceServiceClient;
use crate::wire::{required, v1};

impl Client {
    fn inference_stub(&self) -> InferenceServiceClient<AuthorizedChannel> {
        InferenceServiceClient::new(self.channel.clone())
    }

    /// Asks a model. The answer comes in parts, the first when the weights are there, which may take minutes; dropping
    /// the stream stops the answer. It is never asked a second time: an answer that breaks off ends with the error.
    ///
    /// Errors are those of a request that can't be used ([`ClientError::Refused`]), a job or model that is not there
    /// ([`ClientError::NotFound`]), and those that every call may have.
    pub fn infer(
        &self,
        request: &InferenceRequest,
    ) -> impl Stream<Item = Result<InferencePart, ClientError>> + Send + Unpin + use<> {
        let client = self.clone();
        let call = InferenceCall::from(request.clone());
        Box::pin(async_stream::try_stream! {
            let mut stub = client.inference_stub();
            let opened = match call {
                InferenceCall::Generate(request) => stub.generate(request).await.map(|parts| Parts::Generate(parts.into_inner())),
                InferenceCall::Chat(request) => stub.chat(request).await.map(|parts| Parts::Chat(parts.into_inner())),
            };
            let mut parts = opened.map_err(|status| client.error(status))?;
            while let Some((message, part)) = parts.next().await.map_err(|status| client.error(status))? {
                yield required(message, "part", part)?;
            }
        })
    }
}

/// The answer of either call.
enum Parts {
    Generate(Streaming<v1::GenerateResponse>),
    Chat(Streaming<v1::ChatResponse>),
}

impl Parts {
    /// The next part, and the message that it came in.
    async fn next(&mut self) -> Result<Option<(&'static str, Option<v1::InferencePart>)>, Status> {
        Ok(match self {
            Self::Generate(parts) => {
                parts.message().await?.map(|v1::GenerateResponse { part }| ("GenerateResponse", part))
            }
            Self::Chat(parts) => {
                parts.message().await?.map(|v1::ChatResponse { part }| ("ChatResponse", part))
            }
        })
    }
}
