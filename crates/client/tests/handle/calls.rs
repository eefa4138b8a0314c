//! Every call arrives as it was asked, and its answer as it was given.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use ftl_client::Show;
use ftl_client::wire::config::verdict_response;
use ftl_client::wire::v1;
use ftl_core::dataset::{ImportSource, SplitBy};
use ftl_core::job::{Checkpoint, QueueSettings, State};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{ConfigId, DatasetId, JobId, ModelId, Page, PageRequest};

use crate::draw::{Draw, full};
use crate::fake::{Fake, Pair};

/// Compares as shown: full values hold NaN.
fn assert_same(left: impl Debug, right: impl Debug) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

/// The last request is this one.
fn assert_asked(fake: &Fake, method: &str, request: impl Debug) {
    let call = fake.calls().pop().expect("something was asked");
    assert_eq!((call.method, call.request), (method, format!("{request:?}")));
}

fn page() -> PageRequest {
    PageRequest { page_size: 2, page_token: Some("here".to_owned()) }
}

#[tokio::test]
async fn jobs() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let job = full(Draw::job);
    let wire_job = || v1::Job::from(job.clone());
    let id = JobId::from_bits(3);
    let job_id = id.to_string();

    fake.answer("create_job", wire_job());
    assert_same(client.create_job(&job.spec, Some("r")).await, Ok::<_, ()>(&job));
    let spec = Some(job.spec.clone().into());
    assert_asked(
        fake,
        "create_job",
        v1::CreateJobRequest { spec, request_id: Some("r".to_owned()), from: None },
    );

    fake.answer("get_job", wire_job());
    assert_same(client.job(&id).await, Ok::<_, ()>(&job));
    assert_asked(fake, "get_job", v1::GetJobRequest { id: job_id.clone() });

    let jobs = vec![wire_job(), wire_job()];
    fake.answer("list_jobs", v1::ListJobsResponse { jobs, next_page_token: "next".to_owned() });
    let expected = Page { items: vec![&job, &job], next_page_token: Some("next".to_owned()) };
    assert_same(client.jobs(&page(), &[State::Queued, State::Cancelled]).await, Ok::<_, ()>(expected));
    let states = vec![v1::JobState::Queued.into(), v1::JobState::Cancelled.into()];
    assert_asked(
        fake,
        "list_jobs",
        v1::ListJobsRequest { page_size: 2, page_token: "here".to_owned(), states },
    );

    fake.answer("list_jobs", v1::ListJobsResponse::default());
    let empty: Page<()> = Page { items: Vec::new(), next_page_token: None };
    assert_same(client.jobs(&PageRequest::default(), &[]).await, Ok::<_, ()>(empty));
    assert_asked(fake, "list_jobs", v1::ListJobsRequest::default());

    fake.answer("stop_job", wire_job());
    assert_same(client.stop_job(&id).await, Ok::<_, ()>(&job));
    assert_asked(fake, "stop_job", v1::StopJobRequest { id: job_id.clone() });

    fake.answer("resume_job", wire_job());
    assert_same(client.resume_job(&id).await, Ok::<_, ()>(&job));
    assert_asked(fake, "resume_job", v1::ResumeJobRequest { id: job_id.clone() });

    fake.answer("create_job", wire_job());
    let from = full(Draw::start_from);
    assert_same(client.create_job_from(&job.spec, from.clone(), "r").await, Ok::<_, ()>(&job));
    let (spec, from) = (Some(job.spec.clone().into()), Some(from.into()));
    assert_asked(fake, "create_job", v1::CreateJobRequest { spec, request_id: Some("r".to_owned()), from });

    fake.answer("move_job", wire_job());
    let change = full(Draw::change_of_order);
    assert_same(client.move_job(change.clone()).await, Ok::<_, ()>(&job));
    assert_asked(fake, "move_job", v1::MoveJobRequest::from(change));

    fake.answer("get_queue_settings", v1::QueueSettings { min_free_disk_bytes: 5 });
    let settings = QueueSettings { min_free_disk_bytes: 5 };
    assert_eq!(client.queue_settings().await, Ok(settings));
    assert_asked(fake, "get_queue_settings", v1::GetQueueSettingsRequest {});

    fake.answer("update_queue_settings", v1::QueueSettings { min_free_disk_bytes: 5 });
    assert_eq!(client.update_queue_settings(settings).await, Ok(settings));
    let settings = Some(settings.into());
    assert_asked(fake, "update_queue_settings", v1::UpdateQueueSettingsRequest { settings });

    fake.answer("cancel_job", wire_job());
    assert_same(client.cancel_job(&id).await, Ok::<_, ()>(&job));
    assert_asked(fake, "cancel_job", v1::CancelJobRequest { id: job_id.clone() });

    fake.answer("delete_job", ());
    assert_eq!(client.delete_job(&id).await, Ok(()));
    assert_asked(fake, "delete_job", v1::DeleteJobRequest { id: job_id });
}

#[tokio::test]
async fn what_belongs_to_a_job() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let id = JobId::from_bits(3);
    let job_id = id.to_string();

    let attempt = full(Draw::attempt);
    let attempts = vec![attempt.clone().into()];
    fake.answer("list_attempts", v1::ListAttemptsResponse { attempts });
    assert_eq!(client.attempts(&id).await, Ok(vec![attempt]));
    assert_asked(fake, "list_attempts", v1::ListAttemptsRequest { job_id: job_id.clone() });

    let artifact = full(Draw::artifact);
    let artifacts = vec![artifact.clone().into()];
    fake.answer("list_artifacts", v1::ListArtifactsResponse { artifacts });
    assert_eq!(client.artifacts(&id).await, Ok(vec![artifact]));
    assert_asked(fake, "list_artifacts", v1::ListArtifactsRequest { job_id: job_id.clone() });

    for (asked, sent) in [(None, 0), (Some(2), 2)] {
        fake.answer("get_log", v1::GetLogResponse { attempt: 2, text: "the end".to_owned() });
        assert_eq!(client.log(&id, asked).await, Ok((2, "the end".to_owned())));
        assert_asked(fake, "get_log", v1::GetLogRequest { job_id: job_id.clone(), attempt: sent });
    }
}

#[tokio::test]
async fn checkpoints() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let id = JobId::from_bits(3);
    let (job_id, name) = (id.to_string(), "checkpoint-7".to_owned());
    // A full one has a loss that equals nothing.
    let checkpoint = Checkpoint { eval_loss_nats: Some(0.5), ..full(Draw::checkpoint) };
    let wire = || v1::Checkpoint::from(checkpoint.clone());

    for (show, show_removed) in [(Show::OnDisk, false), (Show::Removed, true)] {
        let next_page_token = "next".to_owned();
        let answer = v1::ListCheckpointsResponse { checkpoints: vec![wire()], next_page_token };
        fake.answer("list_checkpoints", answer);
        let page = PageRequest { page_size: 3, page_token: Some("here".to_owned()) };
        let expected = Page { items: vec![checkpoint.clone()], next_page_token: Some("next".to_owned()) };
        assert_eq!(client.checkpoints(&id, &page, show).await, Ok(expected));
        let request = v1::ListCheckpointsRequest {
            job_id: job_id.clone(),
            page_size: 3,
            page_token: "here".to_owned(),
            show_removed,
        };
        assert_asked(fake, "list_checkpoints", request);
    }

    fake.answer("get_checkpoint", wire());
    assert_eq!(client.checkpoint(&id, &name).await, Ok(checkpoint.clone()));
    let request = v1::GetCheckpointRequest { job_id: job_id.clone(), name: name.clone() };
    assert_asked(fake, "get_checkpoint", request);

    fake.answer("create_checkpoint", wire());
    assert_eq!(client.save_checkpoint(&id).await, Ok(checkpoint.clone()));
    assert_asked(fake, "create_checkpoint", v1::CreateCheckpointRequest { job_id: job_id.clone() });

    fake.answer("pin_checkpoint", wire());
    assert_eq!(client.pin_checkpoint(&id, &name).await, Ok(checkpoint.clone()));
    let request = v1::PinCheckpointRequest { job_id: job_id.clone(), name: name.clone() };
    assert_asked(fake, "pin_checkpoint", request);

    fake.answer("unpin_checkpoint", wire());
    assert_eq!(client.unpin_checkpoint(&id, &name).await, Ok(checkpoint.clone()));
    let request = v1::UnpinCheckpointRequest { job_id: job_id.clone(), name: name.clone() };
    assert_asked(fake, "unpin_checkpoint", request);

    fake.answer("verify_checkpoint", wire());
    assert_eq!(client.verify_checkpoint(&id, &name).await, Ok(checkpoint));
    let request = v1::VerifyCheckpointRequest { job_id: job_id.clone(), name: name.clone() };
    assert_asked(fake, "verify_checkpoint", request);

    fake.answer("delete_checkpoint", ());
    assert_eq!(client.delete_checkpoint(&id, &name).await, Ok(()));
    let request = v1::DeleteCheckpointRequest { job_id: job_id.clone(), name: name.clone() };
    assert_asked(fake, "delete_checkpoint", request);

    fake.answer("export_checkpoint", v1::ExportCheckpointResponse { path: "/out".to_owned(), bytes: 9 });
    assert_eq!(client.export_checkpoint(&id, &name, "/out".as_ref()).await, Ok(9));
    assert_asked(
        fake,
        "export_checkpoint",
        v1::ExportCheckpointRequest { job_id, name, path: "/out".to_owned() },
    );
}

#[tokio::test]
async fn datasets() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let dataset = full(Draw::dataset);
    let id = DatasetId::from_bits(3);

    for (name, sent) in [(None, ""), (Some("mine"), "mine")] {
        fake.answer("import_dataset", v1::Dataset::from(dataset.clone()));
        let source = ImportSource::Path("/data/train.jsonl".into());
        assert_eq!(client.import_dataset(&source, name, DataFormat::Text).await, Ok(dataset.clone()));
        let request = v1::ImportDatasetRequest {
            source: Some(v1::import_dataset_request::Source::Path("/data/train.jsonl".to_owned())),
            name: sent.to_owned(),
            format: v1::DataFormat::Text.into(),
        };
        assert_asked(fake, "import_dataset", request);
    }

    fake.answer("get_dataset", v1::Dataset::from(dataset.clone()));
    assert_eq!(client.dataset(&id).await, Ok(dataset.clone()));
    assert_asked(fake, "get_dataset", v1::GetDatasetRequest { id: id.to_string() });

    let datasets = vec![dataset.clone().into()];
    fake.answer("list_datasets", v1::ListDatasetsResponse { datasets, next_page_token: String::new() });
    assert_eq!(client.datasets(&page()).await, Ok(Page { items: vec![dataset], next_page_token: None }));
    assert_asked(
        fake,
        "list_datasets",
        v1::ListDatasetsRequest { page_size: 2, page_token: "here".to_owned() },
    );

    let row = full(Draw::row);
    let rows = vec![row.clone().into()];
    fake.answer("preview_dataset", v1::PreviewDatasetResponse { rows, next_page_token: "2".to_owned() });
    let expected = Page { items: vec![row], next_page_token: Some("2".to_owned()) };
    assert_eq!(client.preview_dataset(&id, &page()).await, Ok(expected));
    assert_asked(
        fake,
        "preview_dataset",
        v1::PreviewDatasetRequest { id: id.to_string(), page_size: 2, page_token: "here".to_owned() },
    );

    let kept = full(Draw::kept_report);
    for (asked, sent) in [(None, 0), (Some(4), 4)] {
        fake.answer("get_dataset_report", v1::KeptDatasetReport::from(kept.clone()));
        assert_same(client.dataset_report(&id, asked).await, Ok::<_, ()>(&kept));
        let request = v1::GetDatasetReportRequest { id: id.to_string(), number: sent };
        assert_asked(fake, "get_dataset_report", request);
    }
    let reports = vec![kept.summary.clone().into()];
    fake.answer("list_dataset_reports", v1::ListDatasetReportsResponse { reports });
    assert_eq!(client.dataset_reports(&id).await, Ok(vec![kept.summary.clone()]));
    assert_asked(fake, "list_dataset_reports", v1::ListDatasetReportsRequest { id: id.to_string() });

    let row = full(Draw::rendered_row);
    fake.answer("render_sample", v1::RenderedRow::from(row.clone()));
    let template = Path::new("/t.jinja");
    assert_eq!(client.render_sample(&id, 3, "org/small", Some(template)).await, Ok(row));
    let request = v1::RenderSampleRequest {
        id: id.to_string(),
        row: 3,
        model: "org/small".to_owned(),
        chat_template: Some("/t.jinja".to_owned()),
    };
    assert_asked(fake, "render_sample", request);

    let halves = (full(Draw::dataset), full(Draw::dataset));
    let (train, eval) = (Some(halves.0.clone().into()), Some(halves.1.clone().into()));
    fake.answer("split_dataset", v1::SplitDatasetResponse { train, eval });
    let by = SplitBy::Fraction { eval: 0.25, seed: 3 };
    assert_eq!(client.split_dataset(&id, by, (Some("a"), None)).await, Ok(halves));
    let fraction = v1::SplitByFraction { eval: 0.25, seed: 3 };
    let request = v1::SplitDatasetRequest {
        id: id.to_string(),
        by: Some(v1::split_dataset_request::By::Fraction(fraction)),
        train_name: "a".to_owned(),
        eval_name: String::new(),
    };
    assert_asked(fake, "split_dataset", request);

    let upload = full(Draw::upload);
    fake.answer("get_upload", v1::Upload::from(upload.clone()));
    assert_eq!(client.upload("abc").await, Ok(upload));
    assert_asked(fake, "get_upload", v1::GetUploadRequest { sha256: "abc".to_owned() });

    fake.answer("delete_dataset", ());
    assert_eq!(client.delete_dataset(&id).await, Ok(()));
    assert_asked(fake, "delete_dataset", v1::DeleteDatasetRequest { id: id.to_string() });
}

#[tokio::test]
async fn a_long_page_of_rows_arrives() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let mut row = full(Draw::row);
    row.json = "x".repeat(5 << 20);
    let rows = vec![row.clone().into()];
    fake.answer("preview_dataset", v1::PreviewDatasetResponse { rows, next_page_token: String::new() });
    let page = client.preview_dataset(&DatasetId::from_bits(3), &PageRequest::default()).await;
    assert_eq!(page.expect("5 MiB are not too much").items, [row]);
}

#[tokio::test]
async fn models() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let model = full(Draw::model);

    for (name, sent) in [(None, ""), (Some("mine"), "mine")] {
        fake.answer("import_model", v1::Model::from(model.clone()));
        assert_eq!(client.import_model(Path::new("/models/x"), name).await, Ok(model.clone()));
        let request = v1::ImportModelRequest { path: "/models/x".to_owned(), name: sent.to_owned() };
        assert_asked(fake, "import_model", request);
    }

    let models = vec![model.clone().into()];
    fake.answer("list_models", v1::ListModelsResponse { models, next_page_token: String::new() });
    assert_eq!(client.models(&page()).await, Ok(Page { items: vec![model], next_page_token: None }));
    assert_asked(fake, "list_models", v1::ListModelsRequest { page_size: 2, page_token: "here".to_owned() });

    let facts = full(Draw::facts);
    let path = "/cache/snapshots/1".to_owned();
    fake.answer("inspect_model", v1::InspectModelResponse { path, facts: Some(facts.clone().into()) });
    assert_eq!(client.inspect_model("org/name").await, Ok((PathBuf::from("/cache/snapshots/1"), facts)));
    assert_asked(fake, "inspect_model", v1::InspectModelRequest { model: "org/name".to_owned() });

    fake.answer("delete_model", ());
    let id = ModelId::from_bits(3);
    assert_eq!(client.delete_model(&id).await, Ok(()));
    assert_asked(fake, "delete_model", v1::DeleteModelRequest { id: id.to_string() });
}

#[tokio::test]
async fn configs() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let config = full(Draw::config);
    let wire_config = || v1::Config::from(config.clone());
    let spec = || Some(v1::JobSpec::from(config.spec.clone()));
    let id = ConfigId::from_bits(3);
    let (text, name) = (id.to_string(), "mine".to_owned());

    fake.answer("create_config", wire_config());
    assert_same(client.create_config("mine", &config.spec).await, Ok::<_, ()>(&config));
    assert_asked(fake, "create_config", v1::CreateConfigRequest { name: name.clone(), spec: spec() });

    fake.answer("get_config", wire_config());
    assert_same(client.config(&id).await, Ok::<_, ()>(&config));
    assert_asked(fake, "get_config", v1::GetConfigRequest { id: text.clone() });

    let configs = vec![wire_config()];
    fake.answer("list_configs", v1::ListConfigsResponse { configs, next_page_token: String::new() });
    let expected = Page { items: vec![&config], next_page_token: None };
    assert_same(client.configs(&page()).await, Ok::<_, ()>(expected));
    assert_asked(
        fake,
        "list_configs",
        v1::ListConfigsRequest { page_size: 2, page_token: "here".to_owned() },
    );

    fake.answer("update_config", wire_config());
    assert_same(client.update_config(&id, "mine", &config.spec).await, Ok::<_, ()>(&config));
    let request = v1::UpdateConfigRequest { id: text.clone(), name: name.clone(), spec: spec() };
    assert_asked(fake, "update_config", request);

    fake.answer("clone_config", wire_config());
    assert_same(client.clone_config(&id, "mine").await, Ok::<_, ()>(&config));
    assert_asked(fake, "clone_config", v1::CloneConfigRequest { id: text.clone(), name });

    fake.answer("delete_config", ());
    assert_eq!(client.delete_config(&id).await, Ok(()));
    assert_asked(fake, "delete_config", v1::DeleteConfigRequest { id: text });
}

#[tokio::test]
async fn judgements_presets_and_the_schema() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let spec = full(Draw::spec);
    for verdict in [Ok(spec.clone()), Err(vec![full(Draw::problem)])] {
        fake.answer("validate_config", verdict_response(verdict.clone()));
        assert_same(client.validate_config(&spec).await, Ok::<_, ()>(verdict));
        assert_asked(fake, "validate_config", v1::ValidateConfigRequest { spec: Some(spec.clone().into()) });
    }

    let preset = full(Draw::preset);
    fake.answer("list_presets", v1::ListPresetsResponse { presets: vec![preset.clone().into()] });
    assert_same(client.presets().await, Ok::<_, ()>(vec![preset]));
    assert_asked(fake, "list_presets", v1::ListPresetsRequest {});

    fake.answer("get_spec_schema", v1::GetSpecSchemaResponse { json: "{}".to_owned() });
    assert_eq!(client.spec_schema().await, Ok("{}".to_owned()));
    assert_asked(fake, "get_spec_schema", v1::GetSpecSchemaRequest {});
}

#[tokio::test]
async fn the_machine() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let info = full(Draw::system_info);
    fake.answer("get_system_info", v1::SystemInfo::from(info.clone()));
    assert_eq!(client.system_info().await, Ok(info));

    let gpus = full(Draw::gpus);
    fake.answer("get_gpus", v1::Gpus::from(gpus.clone()));
    assert_same(client.gpus().await, Ok::<_, ()>(gpus));
    assert_asked(fake, "get_gpus", v1::GetGpusRequest {});

    let (plan, spec) = (full(Draw::memory_plan), full(Draw::spec));
    fake.answer("plan_memory", v1::MemoryPlan::from(plan.clone()));
    assert_eq!(client.plan_memory(&spec).await, Ok(plan));
    assert_asked(fake, "plan_memory", v1::PlanMemoryRequest { spec: Some(spec.into()) });
}
