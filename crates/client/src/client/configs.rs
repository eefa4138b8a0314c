//! Kept specs, presets, and the judgement of a spec.

use ftl_core::config::{Config, Preset};
use ftl_core::{ConfigId, JobSpec, Page, PageRequest};

use super::Client;
use super::call::MAX_ANSWER_BYTES;
use super::connect::AuthorizedChannel;
use crate::error::ClientError;
use crate::wire::config::{Verdict, verdict};
use crate::wire::v1::config_service_client::ConfigServiceClient;
use crate::wire::{each, page, v1};

impl Client {
    fn configs_stub(&self) -> ConfigServiceClient<AuthorizedChannel> {
        ConfigServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Keeps a spec under a name.
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`] if another config has the name.
    pub async fn create_config(&self, name: &str, spec: &JobSpec) -> Result<Config, ClientError> {
        let request = v1::CreateConfigRequest { name: name.to_owned(), spec: Some(spec.clone().into()) };
        Ok(self
            .call(self.to_change(), self.configs_stub(), request, |mut stub, request| async move {
                stub.create_config(request).await
            })
            .await?
            .try_into()?)
    }

    /// A config.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id.
    pub async fn config(&self, id: &ConfigId) -> Result<Config, ClientError> {
        let request = v1::GetConfigRequest { id: id.to_string() };
        Ok(self
            .call(self.to_read(), self.configs_stub(), request, |mut stub, request| async move {
                stub.get_config(request).await
            })
            .await?
            .try_into()?)
    }

    /// Configs, newest first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a page token that the server did not give.
    pub async fn configs(&self, page: &PageRequest) -> Result<Page<Config>, ClientError> {
        let PageRequest { page_size, page_token } = page.clone();
        let request = v1::ListConfigsRequest { page_size, page_token: page::token(page_token) };
        let v1::ListConfigsResponse { configs, next_page_token } = self
            .call(self.to_read(), self.configs_stub(), request, |mut stub, request| async move {
                stub.list_configs(request).await
            })
            .await?;
        Ok(page::page("ListConfigsResponse", "configs", configs, next_page_token)?)
    }

    /// Replaces the name and the spec of a config.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::AlreadyExists`] if another config has the name.
    pub async fn update_config(
        &self,
        id: &ConfigId,
        name: &str,
        spec: &JobSpec,
    ) -> Result<Config, ClientError> {
        let request = v1::UpdateConfigRequest {
            id: id.to_string(),
            name: name.to_owned(),
            spec: Some(spec.clone().into()),
        };
        Ok(self
            .call(self.to_change(), self.configs_stub(), request, |mut stub, request| async move {
                stub.update_config(request).await
            })
            .await?
            .try_into()?)
    }

    /// Forgets a config.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id.
    pub async fn delete_config(&self, id: &ConfigId) -> Result<(), ClientError> {
        let request = v1::DeleteConfigRequest { id: id.to_string() };
        self.call(self.to_change(), self.configs_stub(), request, |mut stub, request| async move {
            stub.delete_config(request).await
        })
        .await
    }

    /// Keeps a copy of a config under another name.
    ///
    /// # Errors
    /// As [`Client::update_config`].
    pub async fn clone_config(&self, id: &ConfigId, name: &str) -> Result<Config, ClientError> {
        let request = v1::CloneConfigRequest { id: id.to_string(), name: name.to_owned() };
        Ok(self
            .call(self.to_change(), self.configs_stub(), request, |mut stub, request| async move {
                stub.clone_config(request).await
            })
            .await?
            .try_into()?)
    }

    /// Judges a spec as [`Client::create_job`] would, without opening a file that it names: the spec with every
    /// default written out, or what is wrong with it.
    ///
    /// # Errors
    /// Those that every call may have; a bad spec is an answer.
    pub async fn validate_config(&self, spec: &JobSpec) -> Result<Verdict, ClientError> {
        let request = v1::ValidateConfigRequest { spec: Some(spec.clone().into()) };
        Ok(verdict(
            self.call(self.to_read(), self.configs_stub(), request, |mut stub, request| async move {
                stub.validate_config(request).await
            })
            .await?,
        )?)
    }

    /// Specs to start from.
    ///
    /// # Errors
    /// Those that every call may have.
    pub async fn presets(&self) -> Result<Vec<Preset>, ClientError> {
        let v1::ListPresetsResponse { presets } = self
            .call(
                self.to_read(),
                self.configs_stub(),
                v1::ListPresetsRequest {},
                |mut stub, request| async move { stub.list_presets(request).await },
            )
            .await?;
        Ok(each("ListPresetsResponse", "presets", presets)?)
    }

    /// The JSON Schema of the spec file, as text.
    ///
    /// # Errors
    /// Those that every call may have.
    pub async fn spec_schema(&self) -> Result<String, ClientError> {
        let v1::GetSpecSchemaResponse { json } = self
            .call(
                self.to_read(),
                self.configs_stub(),
                v1::GetSpecSchemaRequest {},
                |mut stub, request| async move { stub.get_spec_schema(request).await },
            )
            .await?;
        Ok(json)
    }
}
