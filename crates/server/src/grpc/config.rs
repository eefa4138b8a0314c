//! `ConfigService`.

use ftl_client::wire::config::{Verdict, verdict_response};
use ftl_client::wire::v1::config_service_server::ConfigService;
use ftl_client::wire::{page, required, v1};
use ftl_core::config::Config;
use ftl_core::{ConfigId, JobSpec};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, random_bits, request};
use crate::data_dir::now_unix_ms;
use crate::error::ServiceError;
use crate::presets::presets;

impl Api {
    async fn config(&self, id: &ConfigId) -> Result<Config, ServiceError> {
        let config = self.store().config(id).await?;
        config.ok_or_else(|| ServiceError::NotFound { what: "config", id: id.to_string() })
    }

    async fn keep(&self, name: String, spec: JobSpec) -> Result<Config, ServiceError> {
        let now = now_unix_ms();
        let id = ConfigId::from_bits(random_bits()?);
        let config = Config { id, name, spec, created_unix_ms: now, updated_unix_ms: now };
        Ok(self.store().create_config(config).await?)
    }

    /// As `CreateJob` judges.
    async fn judge(&self, spec: JobSpec) -> Result<Verdict, ServiceError> {
        match self.0.parts.resolver.spec(spec).await {
            Ok(spec) => Ok(spec.check().map(|checked| checked.to_spec())),
            Err(ServiceError::Invalid(problems)) => Ok(Err(problems)),
            Err(other) => Err(other),
        }
    }
}

fn spec(message: &'static str, spec: Option<v1::JobSpec>) -> Result<JobSpec, ServiceError> {
    Ok(required(message, "spec", spec)?)
}

#[async_trait]
impl ConfigService for Api {
    async fn create_config(
        &self,
        request: Request<v1::CreateConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let v1::CreateConfigRequest { name, spec: asked } = request.into_inner();
        let spec = spec("CreateConfigRequest", asked)?;
        Ok(Response::new(self.keep(request::name(name)?, spec).await?.into()))
    }

    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let v1::GetConfigRequest { id } = request.into_inner();
        Ok(Response::new(self.config(&request::id("id", &id)?).await?.into()))
    }

    async fn list_configs(
        &self,
        request: Request<v1::ListConfigsRequest>,
    ) -> Result<Response<v1::ListConfigsResponse>, Status> {
        let v1::ListConfigsRequest { page_size, page_token } = request.into_inner();
        let configs = self.store().configs(&request::page(page_size, page_token)).await;
        let configs = configs.map_err(ServiceError::from)?;
        Ok(Response::new(v1::ListConfigsResponse {
            configs: configs.items.into_iter().map(v1::Config::from).collect(),
            next_page_token: page::token(configs.next_page_token),
        }))
    }

    async fn update_config(
        &self,
        request: Request<v1::UpdateConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let v1::UpdateConfigRequest { id, name, spec: asked } = request.into_inner();
        let id: ConfigId = request::id("id", &id)?;
        let spec = spec("UpdateConfigRequest", asked)?;
        let config = self.store().update_config(&id, request::name(name)?, spec).await;
        let config = config.map_err(|error| ServiceError::from(error).about("config", &id))?;
        Ok(Response::new(config.into()))
    }

    async fn delete_config(&self, request: Request<v1::DeleteConfigRequest>) -> Result<Response<()>, Status> {
        let v1::DeleteConfigRequest { id } = request.into_inner();
        let id: ConfigId = request::id("id", &id)?;
        let is_deleted = self.store().delete_config(&id).await.map_err(ServiceError::from)?;
        if !is_deleted {
            return Err(ServiceError::NotFound { what: "config", id: id.to_string() }.into());
        }
        Ok(Response::new(()))
    }

    async fn clone_config(
        &self,
        request: Request<v1::CloneConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let v1::CloneConfigRequest { id, name } = request.into_inner();
        let id = request::id("id", &id)?;
        let name = request::name(name)?;
        let config = self.config(&id).await?;
        Ok(Response::new(self.keep(name, config.spec).await?.into()))
    }

    async fn validate_config(
        &self,
        request: Request<v1::ValidateConfigRequest>,
    ) -> Result<Response<v1::ValidateConfigResponse>, Status> {
        let v1::ValidateConfigRequest { spec: asked } = request.into_inner();
        let verdict = self.judge(spec("ValidateConfigRequest", asked)?).await?;
        Ok(Response::new(verdict_response(verdict)))
    }

    async fn list_presets(
        &self,
        request: Request<v1::ListPresetsRequest>,
    ) -> Result<Response<v1::ListPresetsResponse>, Status> {
        let v1::ListPresetsRequest {} = request.into_inner();
        let presets = presets().into_iter().map(v1::Preset::from).collect();
        Ok(Response::new(v1::ListPresetsResponse { presets }))
    }

    async fn get_spec_schema(
        &self,
        request: Request<v1::GetSpecSchemaRequest>,
    ) -> Result<Response<v1::GetSpecSchemaResponse>, Status> {
        let v1::GetSpecSchemaRequest {} = request.into_inner();
        let json = format!("{:#}", JobSpec::json_schema());
        Ok(Response::new(v1::GetSpecSchemaResponse { json }))
    }
}
