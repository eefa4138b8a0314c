//! `CheckpointService`, over checkpoints that no worker made; how workers and it work together is in `tests/service`.

use std::fs;
use std::path::PathBuf;

use ftl_client::wire::v1;
use ftl_client::wire::v1::checkpoint_service_client::CheckpointServiceClient;
use ftl_core::job::{Job, State};
use ftl_core::{Event, EventRecord, JobId};
use ftl_trainer::checkpoint::layout::checkpoint_name;
use ftl_trainer::checkpoint::save;
use tonic::Code;
use tonic::transport::Channel;

use super::support::{Service, assert_refused, spec};

async fn client(service: &Service) -> CheckpointServiceClient<Channel> {
    CheckpointServiceClient::new(service.channel().await)
}

/// Saves whole checkpoints into the job's directory, and reports them as its worker would.
async fn saved(service: &Service, id: &JobId, steps: &[u64]) {
    let mut records = Vec::new();
    for step in steps {
        let saved = save(&service.dir.job(id), &checkpoint_name(*step), |dir| {
            for (name, text) in
                [("adapter_model.safetensors", "weights"), ("optimizer.safetensors", "moments")]
            {
                fs::write(dir.join(name), text).expect("written");
            }
            Ok(())
        });
        let path = saved.expect("saved").path.display().to_string();
        records.push(EventRecord {
            seq: *step,
            time_unix_ms: 1,
            event: Event::Saved { step: *step, path, bytes: 10 },
        });
    }
    service.store.append_events(id, 1, records).await.expect("kept");
}

fn path(service: &Service, id: &JobId, step: u64) -> PathBuf {
    service.dir.job(id).join(checkpoint_name(step))
}

/// A job whose worker saved and stopped.
async fn stopped(service: &Service, id: &JobId) -> Job {
    service.transition(id, State::Stopping).await;
    service.transition(id, State::Stopped).await
}

#[tokio::test]
async fn list_comes_in_pages_newest_first() {
    let service = Service::start().await;
    let id = service.running_job().await;
    saved(&service, &id, &[1, 2, 3]).await;
    let mut client = client(&service).await;
    let mut request =
        v1::ListCheckpointsRequest { job_id: id.to_string(), page_size: 2, ..Default::default() };
    let first = client.list_checkpoints(request.clone()).await.expect("a page").into_inner();
    let names: Vec<&str> = first.checkpoints.iter().map(|checkpoint| checkpoint.name.as_str()).collect();
    assert_eq!(names, ["checkpoint-3", "checkpoint-2"]);
    assert!(first.checkpoints[0].last && !first.checkpoints[1].last);
    request.page_token = first.next_page_token;
    let second = client.list_checkpoints(request.clone()).await.expect("a page").into_inner();
    assert_eq!((second.checkpoints[0].step, second.next_page_token.as_str()), (1, ""));
    request.page_token = "x".to_owned();
    let status = client.list_checkpoints(request).await.expect_err("no such token");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}

#[tokio::test]
async fn names_lead_nowhere_but_to_checkpoints() {
    let service = Service::start().await;
    let id = service.running_job().await;
    saved(&service, &id, &[1]).await;
    let mut client = client(&service).await;
    let job_id = id.to_string();
    for name in ["", "1", "checkpoint-", "checkpoint-01", "../checkpoint-1", "checkpoint-1/", "final", "/etc"]
    {
        let request = v1::DeleteCheckpointRequest { job_id: job_id.clone(), name: name.to_owned() };
        let status = client.delete_checkpoint(request).await.expect_err(name);
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status:?}");
    }
    let request = v1::GetCheckpointRequest { job_id: job_id.clone(), name: "checkpoint-2".to_owned() };
    let status = client.get_checkpoint(request).await.expect_err("there is none");
    let message = format!("there is no checkpoint `{job_id}/checkpoint-2`");
    assert_refused(&status, Code::NotFound, "CHECKPOINT_NOT_FOUND", ("", &message));
    let absent = JobId::from_bits(1).to_string();
    let request = v1::GetCheckpointRequest { job_id: absent.clone(), name: "checkpoint-2".to_owned() };
    let status = client.get_checkpoint(request).await.expect_err("there is no job");
    let message = format!("there is no job `{absent}`");
    assert_refused(&status, Code::NotFound, "JOB_NOT_FOUND", ("", &message));
    assert!(path(&service, &id, 1).is_dir());
}

#[tokio::test]
async fn pinned_checkpoint_can_not_be_deleted_until_it_is_unpinned() {
    let service = Service::start().await;
    let id = service.running_job().await;
    saved(&service, &id, &[1, 2]).await;
    let mut client = client(&service).await;
    let (job_id, name) = (id.to_string(), "checkpoint-1".to_owned());
    let request = v1::PinCheckpointRequest { job_id: job_id.clone(), name: name.clone() };
    assert!(client.pin_checkpoint(request).await.expect("it is there").into_inner().pinned);
    assert!(service.dir.job(&id).join("checkpoint-1.pinned").exists());
    let delete = v1::DeleteCheckpointRequest { job_id: job_id.clone(), name: name.clone() };
    let status = client.delete_checkpoint(delete.clone()).await.expect_err("it is pinned");
    let message = "`checkpoint-1` is pinned";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
    let request = v1::UnpinCheckpointRequest { job_id: job_id.clone(), name };
    assert!(!client.unpin_checkpoint(request).await.expect("it is there").into_inner().pinned);
    client.delete_checkpoint(delete.clone()).await.expect("it is neither the last nor pinned");
    assert!(!path(&service, &id, 1).exists());
    let status = client.delete_checkpoint(delete).await.expect_err("it is gone");
    let message = "`checkpoint-1` is not on disk any more";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
    let request = v1::ListCheckpointsRequest { job_id, show_removed: true, ..Default::default() };
    let listed = client.list_checkpoints(request).await.expect("a list").into_inner().checkpoints;
    assert_eq!(listed[1].state(), v1::CheckpointState::Removed);
}

#[tokio::test]
async fn what_a_job_goes_on_from_stays_while_it_may() {
    let service = Service::start().await;
    let id = service.running_job().await;
    saved(&service, &id, &[1, 2]).await;
    let mut client = client(&service).await;
    let delete = v1::DeleteCheckpointRequest { job_id: id.to_string(), name: "checkpoint-2".to_owned() };
    let status = client.delete_checkpoint(delete.clone()).await.expect_err("it would go on from there");
    let message = "the job is RUNNING and would go on from `checkpoint-2`";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
    stopped(&service, &id).await;
    // A worker that is about to begin, or has not ended yet.
    let lock = fs::File::create(service.dir.job(&id).join("lock")).expect("a file");
    lock.lock().expect("nobody holds it");
    let status = client.delete_checkpoint(delete.clone()).await.expect_err("somebody works there");
    let message = "a worker is in the job's directory";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
    drop(lock);
    client.delete_checkpoint(delete).await.expect("the job is at rest");
    assert!(!path(&service, &id, 2).exists());
}

#[tokio::test]
async fn best_one_stays_while_the_result_may_be_made_of_it() {
    let service = Service::start().await;
    let mut wants_best = spec();
    wants_best.train.load_best_model_at_end = Some(true);
    wants_best.data.eval = Some(ftl_core::spec::EvalSpec { fraction: Some(0.1), path: None });
    for (spec, is_kept) in [(wants_best, true), (spec(), false)] {
        let id = service.job_with(spec).await;
        let id = service.running(id).await;
        let evaluated = Event::Evaluated(ftl_core::metrics::Evaluated {
            step: 1,
            loss_nats: 1.5,
            perplexity: 4.5,
            token_accuracy: 0.5,
            tokens: 10,
            rewards: None,
        });
        let record = EventRecord { seq: 100, time_unix_ms: 1, event: evaluated };
        service.store.append_events(&id, 1, vec![record]).await.expect("kept");
        saved(&service, &id, &[1, 2]).await;
        stopped(&service, &id).await;
        let mut client = client(&service).await;
        let delete = v1::DeleteCheckpointRequest { job_id: id.to_string(), name: "checkpoint-1".to_owned() };
        if is_kept {
            let status = client.delete_checkpoint(delete.clone()).await.expect_err("it may go on");
            let message = "the result of the job, which is STOPPED, would be made of `checkpoint-1`";
            assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
            service.transition(&id, State::Cancelled).await;
        }
        client.delete_checkpoint(delete).await.expect("nobody needs it");
    }
}

#[tokio::test]
async fn verification_is_done_by_a_worker_and_its_result_is_kept() {
    let service = Service::start().await;
    let id = service.running_job().await;
    saved(&service, &id, &[1, 2]).await;
    let mut client = client(&service).await;
    let request = |step| v1::VerifyCheckpointRequest { job_id: id.to_string(), name: checkpoint_name(step) };
    let whole = client.verify_checkpoint(request(1)).await.expect("it is there").into_inner();
    assert_eq!(whole.state(), v1::CheckpointState::Complete);
    assert!(whole.verify_time.is_some());
    fs::write(path(&service, &id, 2).join("optimizer.safetensors"), "momentz").expect("damaged");
    let damaged = client.verify_checkpoint(request(2)).await.expect("it is there").into_inner();
    assert_eq!(damaged.state(), v1::CheckpointState::Damaged);
    let damage = damaged.damage.expect("what is wrong");
    assert!(damage.contains("`optimizer.safetensors` was changed after it was written"), "{damage}");
    let get = v1::GetCheckpointRequest { job_id: id.to_string(), name: checkpoint_name(1) };
    assert!(client.get_checkpoint(get).await.expect("it is there").into_inner().last, "the other can't be");
    fs::remove_dir_all(path(&service, &id, 1)).expect("by hand");
    let status = client.verify_checkpoint(request(1)).await.expect_err("it is gone");
    let message = "`checkpoint-1` is not on disk any more";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
}

#[tokio::test]
async fn export_holds_what_other_programs_load_and_nothing_of_a_damaged_checkpoint() {
    let service = Service::start().await;
    let id = service.running_job().await;
    saved(&service, &id, &[1, 2]).await;
    let mut client = client(&service).await;
    let to = service.home.path().join("exports/adapter");
    let request = |step, path: &std::path::Path| v1::ExportCheckpointRequest {
        job_id: id.to_string(),
        name: checkpoint_name(step),
        path: path.display().to_string(),
    };
    let exported = client.export_checkpoint(request(1, &to)).await.expect("a new directory").into_inner();
    assert_eq!((exported.path, exported.bytes), (to.display().to_string(), 7));
    let names: Vec<_> =
        fs::read_dir(&to).expect("a directory").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names, ["adapter_model.safetensors"]);
    let status = client.export_checkpoint(request(1, &to)).await.expect_err("it is there");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("exists already"), "{status:?}");
    let status = client.export_checkpoint(request(1, "here".as_ref())).await.expect_err("not absolute");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    fs::write(path(&service, &id, 2).join("adapter_model.safetensors"), "weightz").expect("damaged");
    let other = service.home.path().join("other");
    let status = client.export_checkpoint(request(2, &other)).await.expect_err("it is damaged");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert!(status.message().contains("`checkpoint-2` is damaged"), "{status:?}");
    assert!(!other.exists());
    let get = v1::GetCheckpointRequest { job_id: id.to_string(), name: checkpoint_name(2) };
    let kept = client.get_checkpoint(get).await.expect("it is there").into_inner();
    assert_eq!(kept.state(), v1::CheckpointState::Damaged);
}

#[tokio::test]
async fn nobody_saves_where_no_worker_trains() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let id = service.job().await;
    let request = v1::CreateCheckpointRequest { job_id: id.to_string() };
    let status = client.create_checkpoint(request).await.expect_err("it is queued");
    let message = "the job is QUEUED, and only a worker that trains can save";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));
}
