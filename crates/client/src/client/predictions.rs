//! What the models of jobs answered to held-out prompts.

use ftl_core::job::Prediction;
use ftl_core::{JobId, Page, PageRequest};

use super::Client;
use super::call::MAX_ANSWER_BYTES;
use crate::error::ClientError;
use crate::wire::v1::prediction_service_client::PredictionServiceClient;
use crate::wire::{page, v1};

impl Client {
    /// The answers of a job's model to held-out prompts, newest first.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Refused`] for a page token of another list.
    pub async fn predictions(
        &self,
        id: &JobId,
        request: &PageRequest,
    ) -> Result<Page<Prediction>, ClientError> {
        let PageRequest { page_size, page_token } = request.clone();
        let request = v1::ListPredictionsRequest {
            job_id: id.to_string(),
            page_size,
            page_token: page::token(page_token),
        };
        let stub =
            PredictionServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let v1::ListPredictionsResponse { predictions, next_page_token } = self
            .call(self.to_read(), stub, request, |mut stub, request| async move {
                stub.list_predictions(request).await
            })
            .await?;
        Ok(page::page("ListPredictionsResponse", "predictions", predictions, next_page_token)?)
    }
}
