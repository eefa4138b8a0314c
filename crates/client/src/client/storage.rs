//! What a service keeps beside its jobs: samples of GPUs, how much its files take, and copies of its database.

use std::path::{Path, PathBuf};

use ftl_core::system::{GpuSample, SampleFilter, Storage};
use ftl_core::{Page, PageRequest};

use super::call::{Manner, Repeat};
use super::{Client, path_text};
use crate::error::ClientError;
use crate::wire::storage::samples_request;
use crate::wire::{page, v1};

/// A copy of a service's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// The file, on the machine of the service.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl Client {
    /// What GPUs did while jobs were trained on them, newest first.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such job, and [`ClientError::Refused`] for a page token of another
    /// list.
    pub async fn gpu_samples(
        &self,
        filter: &SampleFilter,
        request: &PageRequest,
    ) -> Result<Page<GpuSample>, ClientError> {
        let PageRequest { page_size, page_token } = request.clone();
        let request = samples_request(filter.clone(), page_size, page::token(page_token));
        let v1::ListGpuSamplesResponse { samples, next_page_token } = self
            .call(self.to_read(), self.system_stub(), request, |mut stub, request| async move {
                stub.list_gpu_samples(request).await
            })
            .await?;
        Ok(page::page("ListGpuSamplesResponse", "samples", samples, next_page_token)?)
    }

    /// What the data directory of the service holds.
    ///
    /// # Errors
    /// Those that every call may have.
    pub async fn storage(&self) -> Result<Storage, ClientError> {
        Ok(self
            .call(
                Manner { repeat: Repeat::WhileUnavailable, limit: self.limits.long_answer },
                self.system_stub(),
                v1::GetStorageRequest {},
                |mut stub, request| async move { stub.get_storage(request).await },
            )
            .await?
            .try_into()?)
    }

    /// Has the service write a copy of its database to a file that does not exist yet. The path is one of the
    /// service's machine.
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`] where something is there, [`ClientError::Refused`] and
    /// [`ClientError::Precondition`] for a path that can't be written.
    pub async fn back_up(&self, to: &Path) -> Result<BackedUp, ClientError> {
        let v1::BackupResponse { path, bytes } = self
            .call(
                Manner { repeat: Repeat::Never, limit: self.limits.long_answer },
                self.system_stub(),
                v1::BackupRequest { path: path_text(to)? },
                |mut stub, request| async move { stub.backup(request).await },
            )
            .await?;
        Ok(BackedUp { path: path.into(), bytes })
    }
}
