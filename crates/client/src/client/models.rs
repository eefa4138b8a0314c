//! Models.

use std::path::{Path, PathBuf};

use ftl_core::model::{Model, ModelFacts};
use ftl_core::{ModelId, Page, PageRequest};

use super::Client;
use super::call::MAX_ANSWER_BYTES;
use super::connect::AuthorizedChannel;
use super::path_text;
use crate::error::ClientError;
use crate::wire::v1::model_service_client::ModelServiceClient;
use crate::wire::{page, required, v1};

impl Client {
    fn models_stub(&self) -> ModelServiceClient<AuthorizedChannel> {
        ModelServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Has the server look at a model directory and remember what it found. `path` is absolute, on the server's
    /// machine; without a name, the directory's.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a path or a model that can't be used.
    pub async fn import_model(&self, path: &Path, name: Option<&str>) -> Result<Model, ClientError> {
        let request =
            v1::ImportModelRequest { path: path_text(path)?, name: name.unwrap_or_default().to_owned() };
        Ok(self
            .call(self.to_change_files(), self.models_stub(), request, |mut stub, request| async move {
                stub.import_model(request).await
            })
            .await?
            .try_into()?)
    }

    /// Imported models, newest first, then those in the Hugging Face cache by name.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a page token that the server did not give.
    pub async fn models(&self, page: &PageRequest) -> Result<Page<Model>, ClientError> {
        let PageRequest { page_size, page_token } = page.clone();
        let request = v1::ListModelsRequest { page_size, page_token: page::token(page_token) };
        let v1::ListModelsResponse { models, next_page_token } = self
            .call(self.to_read(), self.models_stub(), request, |mut stub, request| async move {
                stub.list_models(request).await
            })
            .await?;
        Ok(page::page("ListModelsResponse", "models", models, next_page_token)?)
    }

    /// Looks at a model as it is now, and says where it is. `model` is a directory, the id of an imported model, or
    /// `org/name` of the Hugging Face cache.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Refused`] for a model that can't be used.
    pub async fn inspect_model(&self, model: &str) -> Result<(PathBuf, ModelFacts), ClientError> {
        let request = v1::InspectModelRequest { model: model.to_owned() };
        let v1::InspectModelResponse { path, facts } = self
            .call(self.to_read_files(), self.models_stub(), request, |mut stub, request| async move {
                stub.inspect_model(request).await
            })
            .await?;
        Ok((PathBuf::from(path), required("InspectModelResponse", "facts", facts)?))
    }

    /// Forgets an imported model; its files stay.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id.
    pub async fn delete_model(&self, id: &ModelId) -> Result<(), ClientError> {
        let request = v1::DeleteModelRequest { id: id.to_string() };
        self.call(self.to_change(), self.models_stub(), request, |mut stub, request| async move {
            stub.delete_model(request).await
        })
        .await
    }
}
