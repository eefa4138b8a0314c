//! The machine and the service on it.

use std::time::Duration;

use ftl_core::JobSpec;
use ftl_core::plan::MemoryPlan;
use ftl_core::system::{Gpus, SystemInfo};
use futures_util::Stream;

use super::Client;
use super::call::MAX_ANSWER_BYTES;
use super::connect::AuthorizedChannel;
use crate::error::ClientError;
use crate::wire::v1;
use crate::wire::v1::system_service_client::SystemServiceClient;

impl Client {
    pub(super) fn system_stub(&self) -> SystemServiceClient<AuthorizedChannel> {
        SystemServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Asks who answers; once, so that a caller learns soon that nobody does.
    pub(super) async fn greet(&self) -> Result<(), ClientError> {
        self.call(
            self.to_change(),
            self.system_stub(),
            v1::GetSystemInfoRequest {},
            |mut stub, request| async move { stub.get_system_info(request).await },
        )
        .await?;
        Ok(())
    }

    /// The machine and the service.
    ///
    /// # Errors
    /// Those that every call may have.
    pub async fn system_info(&self) -> Result<SystemInfo, ClientError> {
        Ok(self
            .call(
                self.to_read(),
                self.system_stub(),
                v1::GetSystemInfoRequest {},
                |mut stub, request| async move { stub.get_system_info(request).await },
            )
            .await?
            .try_into()?)
    }

    /// The NVIDIA GPUs as they are now.
    ///
    /// # Errors
    /// Those that every call may have; an absent driver is an answer.
    pub async fn gpus(&self) -> Result<Gpus, ClientError> {
        Ok(self
            .call(self.to_read(), self.system_stub(), v1::GetGpusRequest {}, |mut stub, request| async move {
                stub.get_gpus(request).await
            })
            .await?
            .try_into()?)
    }

    /// How much memory a job would take, and what would fit where it does not.
    ///
    /// # Errors
    /// What is wrong with the spec or its model, and those that every call may have.
    pub async fn plan_memory(&self, spec: &JobSpec) -> Result<MemoryPlan, ClientError> {
        Ok(self
            .call(
                self.to_read(),
                self.system_stub(),
                v1::PlanMemoryRequest { spec: Some(spec.clone().into()) },
                |mut stub, request| async move { stub.plan_memory(request).await },
            )
            .await?
            .try_into()?)
    }

    /// The NVIDIA GPUs again and again, also across a restart of the server; a zero interval: every second. Ends with
    /// an error alone, as [`Client::watch_events`] does; the server refuses an interval outside of 100 ms to a minute.
    pub fn watch_gpus(
        &self,
        interval: Duration,
    ) -> impl Stream<Item = Result<Gpus, ClientError>> + Send + Unpin + use<> {
        // Zero has a meaning of its own, so less than a millisecond must not become it.
        let interval_millis = match u32::try_from(interval.as_millis()).unwrap_or(u32::MAX) {
            0 if !interval.is_zero() => 1,
            millis => millis,
        };
        let silence = self.limits.silence.max(interval.saturating_mul(4));
        let open = move |client: Self, _| {
            let request = v1::WatchGpusRequest { interval_millis };
            async move { client.system_stub().watch_gpus(request).await }
        };
        self.follow(0, silence, open, |_, gpus: v1::Gpus| Gpus::try_from(gpus).map(Some))
    }
}
