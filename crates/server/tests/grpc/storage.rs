//! What is kept beside jobs: storage, backups, samples of GPUs, answers to held-out prompts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ftl_client::wire::v1;
use ftl_client::wire::v1::prediction_service_client::PredictionServiceClient;
use ftl_client::wire::v1::system_service_client::SystemServiceClient;
use ftl_core::event::Sampled;
use ftl_core::job::State;
use ftl_core::system::{GpuReading, Gpus, SampleFilter};
use ftl_core::{Event, EventRecord, JobSpec, PageRequest};
use ftl_server::leases::{Holder, Leases, Machine, Place};
use ftl_server::telemetry::gpus::GpuReader;
use ftl_server::telemetry::samples::{Pace, sample};
use ftl_store::Store;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::support::{LONG, Service, assert_refused, spec};

#[tokio::test]
async fn storage_is_told_by_what_it_is_for() {
    let service = Service::start().await;
    let (small, large) = (service.job().await, service.job().await);
    for (id, n_bytes) in [(&small, 10), (&large, 10_000)] {
        let checkpoint = service.dir.job(id).join("checkpoint-1");
        std::fs::create_dir_all(&checkpoint).expect("a writable directory");
        std::fs::write(checkpoint.join("weights"), vec![0; n_bytes]).expect("a writable directory");
        // A link leads elsewhere, and this one to itself.
        std::os::unix::fs::symlink(&checkpoint, checkpoint.join("again")).expect("a link");
    }
    std::fs::create_dir_all(service.dir.datasets().join("data-1")).expect("a writable directory");
    std::fs::write(service.dir.datasets().join("data-1/rows.jsonl"), [0; 300]).expect("a writable directory");
    std::fs::write(service.dir.uploads().join("ab"), [0; 200]).expect("a writable directory");
    std::fs::write(service.dir.root().join("ftl.db.backup-0000000000001"), [0; 100]).expect("writable");
    let mut client = SystemServiceClient::new(service.channel().await);
    let storage = client.get_storage(v1::GetStorageRequest {}).await.expect("an answer").into_inner();
    assert!(storage.database_bytes > 4_096 && storage.free_bytes > Some(0), "{storage:?}");
    assert_eq!((storage.backups_bytes, storage.datasets_bytes, storage.uploads_bytes), (100, 300, 200));
    let jobs: Vec<&str> = storage.largest_jobs.iter().map(|job| job.job_id.as_str()).collect();
    assert_eq!(jobs, [large.as_str(), small.as_str()]);
    let bytes: Vec<u64> = storage.largest_jobs.iter().map(|job| job.bytes).collect();
    assert!(bytes[0] >= 10_000 && bytes[0] < 20_000 && bytes[1] >= 10, "{bytes:?}");
    assert_eq!(storage.jobs_bytes, bytes.iter().sum::<u64>());
}

#[tokio::test]
async fn backup_is_a_database_of_its_own_and_replaces_nothing() {
    let service = Service::start().await;
    let id = service.running_job().await;
    service.steps(&id, 1, 100).await;
    let mut client = SystemServiceClient::new(service.channel().await);
    let to = service.home.path().join("copy.db");
    let request = v1::BackupRequest { path: to.display().to_string() };
    let made = client.backup(request.clone()).await.expect("a copy").into_inner();
    assert_eq!(made.bytes, to.metadata().expect("it is there").len());
    let copy = Store::open(&to, |_, _| {}).expect("a database");
    assert_eq!(copy.job(&id).await.expect("it reads").expect("it has it").seq, 103);
    drop(copy);

    let before = std::fs::read(&to).expect("it is there");
    let status = client.backup(request).await.expect_err("it is there");
    let message = format!("`{}` exists already", to.display());
    assert_refused(&status, Code::AlreadyExists, "OUTPUT_EXISTS", ("path", &message));
    assert!(std::fs::read(&to).expect("it is there") == before);

    let nowhere = service.home.path().join("gone/copy.db").display().to_string();
    let status = client.backup(v1::BackupRequest { path: nowhere }).await.expect_err("no directory");
    assert_refused(&status, Code::FailedPrecondition, "STORAGE", ("path", "can't be written: No such file"));
    let status = client.backup(v1::BackupRequest { path: "copy.db".to_owned() }).await.expect_err("relative");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let left: Vec<_> = service.home.path().read_dir().expect("a directory").flatten().collect();
    let names = left.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(names.filter(|name| name.contains("unfinished")).count() == 0, "{left:?}");
}

fn gpus(used: u64) -> Gpus {
    let gpu = |index| GpuReading {
        index,
        uuid: format!("GPU-{index}"),
        name: "Abacus".to_owned(),
        compute_capability: None,
        memory_total_bytes: 16 << 30,
        memory_used_bytes: used,
        utilization_percent: Some(93),
        temperature_celsius: None,
        power_watts: Some(250.5),
    };
    Gpus::Present { driver_version: "570.1".to_owned(), gpus: vec![gpu(0), gpu(1)] }
}

fn on(device: &str) -> JobSpec {
    let mut spec = spec();
    spec.device.kind = Some(device.to_owned());
    spec
}

/// A table that says where nobody computes.
fn leases() -> Leases {
    Leases::new(Machine::here())
}

#[tokio::test]
async fn gpus_are_sampled_while_jobs_are_trained_on_them() {
    let service = Service::start().await;
    let n_reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_reads);
    let reader = GpuReader::of(move || gpus(counted.fetch_add(1, Ordering::SeqCst) as u64));
    let any = service.running_job().await;
    let given = service.running_job().await;
    let leases = leases();
    let _lease = leases.take(Place::Cuda(1), Holder::Job(given.clone())).expect("it is free");
    let second = service.running(service.job_with(on("cuda:1")).await).await;
    let on_cpu = service.running(service.job_with(on("cpu")).await).await;
    let waits = service.job().await;
    let pace = Pace { sample_every: Duration::from_millis(10), look_every: Duration::from_secs(3_600) };
    let ended = CancellationToken::new();
    let sampling = tokio::spawn(sample((service.store.clone(), leases), reader, pace, ended.clone()));
    let mut client = SystemServiceClient::new(service.channel().await);
    let mut of = async |job: &ftl_core::JobId| {
        let request = v1::ListGpuSamplesRequest {
            job_id: Some(job.to_string()),
            page_size: 1_000,
            ..Default::default()
        };
        client.list_gpu_samples(request).await.expect("an answer").into_inner().samples
    };
    let until = tokio::time::Instant::now() + LONG;
    while of(&second).await.len() < 3 {
        assert!(tokio::time::Instant::now() < until, "nothing is sampled");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(of(&any).await.len() >= 6);
    let of_given = of(&given).await;
    assert!(!of_given.is_empty() && of_given.iter().all(|sample| sample.index == 1));
    assert!(of(&second).await.iter().all(|sample| sample.index == 1 && sample.power_watts == Some(250.5)));
    assert_eq!((of(&on_cpu).await.len(), of(&waits).await.len()), (0, 0));
    ended.cancel();
    tokio::time::timeout(LONG, sampling).await.expect("it ends").expect("no panic");
    let nobody =
        v1::ListGpuSamplesRequest { job_id: Some("job-0000000009".to_owned()), ..Default::default() };
    let status = client.list_gpu_samples(nobody).await.expect_err("no such job");
    assert_refused(&status, Code::NotFound, "JOB_NOT_FOUND", ("", "there is no job"));
}

#[tokio::test]
async fn without_a_driver_nothing_is_asked_and_nothing_is_kept() {
    let service = Service::start().await;
    service.running_job().await;
    let n_reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_reads);
    let reader = GpuReader::of(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Gpus::Absent { reason: "no driver".to_owned() }
    });
    let pace = Pace { sample_every: Duration::from_millis(1), look_every: Duration::from_secs(3_600) };
    let ended = CancellationToken::new();
    let sampling = tokio::spawn(sample((service.store.clone(), leases()), reader, pace, ended.clone()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    ended.cancel();
    tokio::time::timeout(LONG, sampling).await.expect("it ends").expect("no panic");
    assert_eq!(n_reads.load(Ordering::SeqCst), 1);
    let kept = service.store.gpu_samples(&SampleFilter::default(), &PageRequest::default()).await;
    assert_eq!(kept.expect("it reads").items, []);
}

#[tokio::test]
async fn answers_to_held_out_prompts_are_listed_in_pages() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let records = (1..=5).map(|seq| {
        let reference = Some("right".to_owned());
        let sampled =
            Sampled { step: seq * 10, prompt: "what?".to_owned(), text: format!("{seq}"), reference };
        EventRecord { seq, time_unix_ms: 1_700_000_000_000 + seq, event: Event::Sampled(sampled) }
    });
    service.store.append_events(&id, 1, records.collect()).await.expect("kept");
    service.transition(&id, State::Failed).await;
    let mut client = PredictionServiceClient::new(service.channel().await);
    let (mut steps, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListPredictionsRequest { job_id: id.to_string(), page_size: 2, page_token };
        let page = client.list_predictions(request).await.expect("a page").into_inner();
        assert!(page.predictions.iter().all(|found| found.attempt == 1 && found.reference() == "right"));
        steps.extend(page.predictions.iter().map(|found| (found.step, found.seq)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(steps, [(50, 8), (40, 7), (30, 6), (20, 5), (10, 4)]);
    let request = v1::ListPredictionsRequest { job_id: "job-0000000009".to_owned(), ..Default::default() };
    let status = client.list_predictions(request).await.expect_err("no such job");
    assert_refused(&status, Code::NotFound, "JOB_NOT_FOUND", ("", "there is no job"));
}
