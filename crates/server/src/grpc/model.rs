//! `ModelService`. Directories are looked at by workers; nothing here opens a file of a model.

use ftl_client::wire::v1;
use ftl_client::wire::v1::model_service_server::ModelService;
use ftl_core::model::{Model, ModelSource};
use ftl_core::{ModelId, PageRequest};
use ftl_store::StoredModel;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, random_bits, request};
use crate::data_dir::now_unix_ms;
use crate::error::ServiceError;

/// Which list a page token goes on in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Imported models, after the page with this token of the store's; `None`: at the beginning.
    Imported(Option<String>),
    /// The Hugging Face cache, after the model with this name; empty: at its beginning.
    Cached(String),
}

/// What the token of a page of imported models begins with.
const IMPORTED: &str = "imported:";
/// What the token of a page of cached models begins with.
const CACHED: &str = "cached:";

impl Place {
    fn from_token(token: Option<&str>) -> Result<Self, ServiceError> {
        let Some(token) = token else { return Ok(Self::Imported(None)) };
        if let Some(token) = token.strip_prefix(IMPORTED).filter(|token| !token.is_empty()) {
            return Ok(Self::Imported(Some(token.to_owned())));
        }
        token
            .strip_prefix(CACHED)
            .map(|name| Self::Cached(name.to_owned()))
            .ok_or_else(request::bad_page_token)
    }

    fn into_token(self) -> String {
        match self {
            Self::Imported(token) => format!("{IMPORTED}{}", token.unwrap_or_default()),
            Self::Cached(name) => format!("{CACHED}{name}"),
        }
    }
}

impl Api {
    /// Imported models first, newest first, then cached ones by name.
    async fn models(&self, page: &PageRequest) -> Result<v1::ListModelsResponse, ServiceError> {
        let size = page.size() as usize;
        let mut models = Vec::new();
        let after_name = match Place::from_token(page.page_token.as_deref())? {
            Place::Imported(page_token) => {
                let asked = PageRequest { page_size: page.page_size, page_token };
                let imported = self.store().models(&asked).await?;
                models.extend(imported.items.into_iter().map(model));
                if let Some(token) = imported.next_page_token {
                    return Ok(answer(models, Some(Place::Imported(Some(token)))));
                }
                String::new()
            }
            Place::Cached(name) => name,
        };
        let cache = self.0.parts.cache.clone();
        let mut cached = Self::blocking(move || cache.models()).await?;
        cached.retain(|model| model.name > after_name);
        let room = size - models.len();
        let has_more = cached.len() > room;
        cached.truncate(room);
        models.extend(cached);
        let next = has_more.then(|| {
            let last =
                models.last().filter(|model| matches!(model.source, ModelSource::HuggingFaceCache { .. }));
            Place::Cached(last.map(|model| model.name.clone()).unwrap_or_default())
        });
        Ok(answer(models, next))
    }

    async fn inspect(&self, text: &str) -> Result<v1::InspectModelResponse, ServiceError> {
        if text.is_empty() {
            return Err(request::missing("model", "the model is missing"));
        }
        let path = self.0.parts.resolver.model_directory(text, "model").await?;
        let facts = self.until_shutdown(self.0.parts.workers.inspect_model(path.clone())).await?;
        Ok(v1::InspectModelResponse { path: path.to_string_lossy().into_owned(), facts: Some(facts.into()) })
    }
}

fn answer(models: Vec<Model>, next: Option<Place>) -> v1::ListModelsResponse {
    v1::ListModelsResponse {
        models: models.into_iter().map(v1::Model::from).collect(),
        next_page_token: next.map(Place::into_token).unwrap_or_default(),
    }
}

fn model(stored: StoredModel) -> Model {
    let StoredModel { id, name, path, facts, created_unix_ms } = stored;
    Model { name, path, source: ModelSource::Imported { id, facts, created_unix_ms } }
}

#[async_trait]
impl ModelService for Api {
    async fn import_model(
        &self,
        request: Request<v1::ImportModelRequest>,
    ) -> Result<Response<v1::Model>, Status> {
        let v1::ImportModelRequest { path, name } = request.into_inner();
        let path = request::path(path)?;
        let name = request::name_or_file_name(name, &path)?;
        let facts = self.until_shutdown(self.0.parts.workers.inspect_model(path.clone())).await?;
        let stored = StoredModel {
            id: ModelId::from_bits(random_bits()?),
            name,
            path,
            facts,
            created_unix_ms: now_unix_ms(),
        };
        let stored = self.store().create_model(stored).await.map_err(ServiceError::from)?;
        Ok(Response::new(model(stored).into()))
    }

    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let v1::ListModelsRequest { page_size, page_token } = request.into_inner();
        Ok(Response::new(self.models(&request::page(page_size, page_token)).await?))
    }

    async fn inspect_model(
        &self,
        request: Request<v1::InspectModelRequest>,
    ) -> Result<Response<v1::InspectModelResponse>, Status> {
        let v1::InspectModelRequest { model } = request.into_inner();
        Ok(Response::new(self.inspect(&model).await?))
    }

    async fn delete_model(&self, request: Request<v1::DeleteModelRequest>) -> Result<Response<()>, Status> {
        let v1::DeleteModelRequest { id } = request.into_inner();
        let id: ModelId = request::id("id", &id)?;
        let is_deleted = self.store().delete_model(&id).await.map_err(ServiceError::from)?;
        if !is_deleted {
            return Err(ServiceError::NotFound { what: "model", id: id.to_string() }.into());
        }
        Ok(Response::new(()))
    }
}
