//! `SystemService`.

use ftl_client::wire::v1;
use ftl_client::wire::v1::gpus::Kind;
use ftl_client::wire::v1::system_service_client::SystemServiceClient;
use ftl_core::JobSpec;
use ftl_core::plan::MemoryPlan;
use tonic::Code;

use super::support::{Service, assert_refused};

#[tokio::test]
async fn info_is_about_this_process_and_its_jobs() {
    let service = Service::start().await;
    service.job().await;
    service.running_job().await;
    let mut client = SystemServiceClient::new(service.channel().await);
    let info = client.get_system_info(v1::GetSystemInfoRequest {}).await.expect("an answer").into_inner();
    assert_eq!((info.pid, info.version.as_str()), (std::process::id(), env!("CARGO_PKG_VERSION")));
    assert_eq!(info.data_directory, service.dir.root().display().to_string());
    assert!(
        info.thread_count > 0 && info.memory_bytes > Some(0) && info.free_disk_bytes > Some(0),
        "{info:?}"
    );
    let mut counts: Vec<_> = info.jobs.iter().map(|count| (count.state(), count.job_count)).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(v1::JobState::Queued, 1), (v1::JobState::Running, 1)]);
}

#[tokio::test]
async fn absent_driver_is_an_answer_with_its_reason() {
    let service = Service::start().await;
    let mut client = SystemServiceClient::new(service.channel().await);
    let gpus = client.get_gpus(v1::GetGpusRequest {}).await.expect("an answer").into_inner();
    match gpus.kind.expect("one of the two") {
        Kind::Absent(reason) => assert!(!reason.is_empty()),
        // On a machine with a GPU.
        Kind::Driver(driver) => assert!(driver.gpus.iter().all(|gpu| !gpu.uuid.is_empty()), "{driver:?}"),
    }
}

#[tokio::test]
async fn gpus_are_read_again_and_again() {
    let service = Service::start().await;
    let mut client = SystemServiceClient::new(service.channel().await);
    let request = v1::WatchGpusRequest { interval_millis: 100 };
    let mut readings = client.watch_gpus(request).await.expect("it begins").into_inner();
    for _ in 0..3 {
        let reading = readings.message().await.expect("no error").expect("no end");
        assert!(reading.kind.is_some());
    }
}

#[tokio::test]
async fn interval_out_of_range_is_refused() {
    let service = Service::start().await;
    let mut client = SystemServiceClient::new(service.channel().await);
    for millis in [1, 99, 60_001, u32::MAX] {
        let request = v1::WatchGpusRequest { interval_millis: millis };
        let status = client.watch_gpus(request).await.expect_err("out of range");
        let message = format!("{millis} is out of range, expected 100 to 60000");
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("interval_millis", &message));
    }
}

/// The first job of the examples, with absolute paths.
fn example(changes: &[&str]) -> JobSpec {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/first-run.toml");
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    JobSpec::read_with(root.canonicalize().expect("the examples"), &changes).expect("a spec")
}

#[tokio::test]
async fn memory_of_a_job_is_planned_by_a_worker() {
    let service = Service::start().await;
    let mut client = SystemServiceClient::new(service.channel().await);
    let mut plan = async |spec: JobSpec| {
        let request = v1::PlanMemoryRequest { spec: Some(spec.into()) };
        client.plan_memory(request).await.map(tonic::Response::into_inner)
    };
    let spec = example(&["device.kind=cpu", "device.max_memory=1GiB"]);
    let found = plan(spec.clone()).await.expect("a plan");
    assert_eq!((found.fits, found.device.as_str(), found.available_bytes), (true, "cpu", Some(1 << 30)));
    let expected = ftl_trainer::plan::plan(&spec.check().expect("a spec")).expect("a plan");
    assert_eq!(MemoryPlan::try_from(found).expect("its own message"), expected);

    let tight = plan(example(&["device.kind=cpu", "device.max_memory=1MiB"])).await.expect("no error");
    assert!(!tight.fits && tight.available_bytes == Some(1 << 20), "{tight:?}");

    let status = plan(example(&["model.path=/nowhere"])).await.expect_err("no model");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let status = plan(example(&["adapter.r=0"])).await.expect_err("no rank");
    let message = "0 is out of range, expected 1 to 65536";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("adapter.r", message));
    let status = client.plan_memory(v1::PlanMemoryRequest { spec: None }).await.expect_err("no spec");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("spec", "must be given"));
}
