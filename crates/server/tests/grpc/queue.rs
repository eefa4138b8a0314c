//! `JobService`'s queue: moves, settings, and jobs that begin with another's checkpoint, as a client asks for them.

use ftl_client::wire::v1;
use ftl_client::wire::v1::job_service_client::JobServiceClient;
use ftl_client::wire::v1::move_job_request::{End, To};
use ftl_core::JobId;
use ftl_core::job::{State, Waiting, WaitingReason};
use tonic::Code;

use super::support::{Service, assert_refused, spec};

#[tokio::test]
async fn queued_jobs_are_moved_and_show_their_place_and_what_they_wait_for() {
    let service = Service::start().await;
    let mut client = JobServiceClient::new(service.channel().await);
    let [first, second, third] = [service.job().await, service.job().await, service.job().await];
    let waiting = Waiting { reason: WaitingReason::DiskLow, message: "make room".to_owned() };
    service.store.set_waiting(vec![(third.clone(), waiting)]).await.expect("it is queued");
    let request =
        |id: &JobId, to, from_place| v1::MoveJobRequest { id: id.to_string(), to: Some(to), from_place };
    let moved =
        client.move_job(request(&third, To::End(End::First.into()), Some(3))).await.expect("it is third");
    let moved = moved.into_inner();
    assert_eq!(moved.queue_place, Some(1));
    let told = moved.waiting.expect("it waits");
    assert_eq!((told.reason(), told.message.as_str()), (v1::waiting::Reason::DiskLow, "make room"));

    let status = client
        .move_job(request(&third, To::End(End::Last.into()), Some(3)))
        .await
        .expect_err("it is first now");
    let message = "the job is at place 1 of the queue, not at 3 any more; look at the queue again";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
    service.transition(&first, State::Starting).await;
    let status = client
        .move_job(request(&second, To::BeforeJobId(first.to_string()), None))
        .await
        .expect_err("the other one was started");
    assert_refused(
        &status,
        Code::FailedPrecondition,
        "INVALID_VALUE",
        ("", "the job is STARTING and not in the queue"),
    );
    let nobody = JobId::from_bits(1).to_string();
    let status = client
        .move_job(request(&second, To::AfterJobId(nobody.clone()), None))
        .await
        .expect_err("there is no other one");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    let status = client
        .move_job(v1::MoveJobRequest { id: second.to_string(), to: None, from_place: None })
        .await
        .expect_err("nowhere to go");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("to", "must be given"));
}

#[tokio::test]
async fn settings_of_the_queue_are_kept() {
    let service = Service::start().await;
    let mut client = JobServiceClient::new(service.channel().await);
    let read = |settings: tonic::Response<v1::QueueSettings>| settings.into_inner().min_free_disk_bytes;
    assert_eq!(
        read(client.get_queue_settings(v1::GetQueueSettingsRequest {}).await.expect("settings")),
        1 << 30
    );
    let settings = Some(v1::QueueSettings { min_free_disk_bytes: 12 });
    let request = v1::UpdateQueueSettingsRequest { settings };
    assert_eq!(read(client.update_queue_settings(request).await.expect("settings")), 12);
    assert_eq!(read(client.get_queue_settings(v1::GetQueueSettingsRequest {}).await.expect("settings")), 12);
}

#[tokio::test]
async fn a_beginning_that_is_not_there_is_refused() {
    let service = Service::start().await;
    let mut client = JobServiceClient::new(service.channel().await);
    let other = service.running_job().await;
    let request = |job_id: String| v1::CreateJobRequest {
        spec: Some(spec().into()),
        request_id: None,
        from: Some(v1::StartFrom { job_id, step: None }),
    };
    let status = client.create_job(request(other.to_string())).await.expect_err("it has no checkpoint");
    let message = format!("job `{other}` has no whole checkpoint on the disk");
    assert_refused(&status, Code::FailedPrecondition, "NOT_FOUND", ("from.step", &message));
    let status =
        client.create_job(request(JobId::from_bits(1).to_string())).await.expect_err("there is no job");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    let status = client.create_job(request("x".to_owned())).await.expect_err("that is no id");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}
