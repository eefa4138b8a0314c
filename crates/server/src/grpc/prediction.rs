//! `PredictionService`.

use ftl_client::wire::v1::prediction_service_server::PredictionService;
use ftl_client::wire::{page, v1};
use ftl_core::JobId;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, request};
use crate::error::ServiceError;

#[async_trait]
impl PredictionService for Api {
    async fn list_predictions(
        &self,
        request: Request<v1::ListPredictionsRequest>,
    ) -> Result<Response<v1::ListPredictionsResponse>, Status> {
        let v1::ListPredictionsRequest { job_id, page_size, page_token } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let found = self.store().predictions(&id, &request::page(page_size, page_token)).await;
        let found = found.map_err(|error| ServiceError::from(error).about("job", &id))?;
        Ok(Response::new(v1::ListPredictionsResponse {
            predictions: found.items.into_iter().map(v1::Prediction::from).collect(),
            next_page_token: page::token(found.next_page_token),
        }))
    }
}
