//! Reports on datasets: streamed, kept, and what they mean for jobs. With real workers.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_client::wire::v1;
use ftl_client::wire::v1::dataset_service_client::DatasetServiceClient;
use ftl_client::wire::v1::job_service_client::JobServiceClient;
use ftl_core::DatasetId;
use ftl_core::spec::{DataSpec, EvalSpec, JobSpec};
use tonic::transport::Channel;
use tonic::{Code, Status};
use v1::import_dataset_request::Source;
use v1::split_dataset_request::By;
use v1::validate_dataset_response::Kind;

use super::support::{LONG, Service, assert_refused, example, spec};

const BAD: &str = "{\"text\": \"one\"}\n{\"text\": 5}\n{\"text\": \"three\"}\n";

fn import(path: &Path) -> v1::ImportDatasetRequest {
    let source = Some(Source::Path(path.display().to_string()));
    v1::ImportDatasetRequest { source, name: String::new(), format: 0 }
}

fn check(data: &str, model: Option<PathBuf>) -> v1::ValidateDatasetRequest {
    let data = DataSpec { train: vec![PathBuf::from(data).into()], ..DataSpec::default() };
    let model = model.map(|model| model.display().to_string());
    v1::ValidateDatasetRequest { check: Some(v1::DataCheck { data: Some(data.into()), model }) }
}

/// How often it was told how far it was, and the report.
async fn checked(
    client: &mut DatasetServiceClient<Channel>,
    request: v1::ValidateDatasetRequest,
) -> Result<(usize, v1::DatasetReport), Status> {
    let mut parts = client.validate_dataset(request).await?.into_inner();
    let mut n_told = 0;
    while let Some(v1::ValidateDatasetResponse { kind }) = parts.message().await? {
        match kind.expect("a part") {
            Kind::Progress(_) => n_told += 1,
            Kind::Report(report) => {
                assert_eq!(parts.message().await?, None, "nothing follows the report");
                return Ok((n_told, report));
            }
        }
    }
    panic!("no report")
}

#[tokio::test]
async fn data_with_errors_are_kept_and_no_job_may_train_on_them_until_they_are_mended() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let mut jobs = JobServiceClient::new(service.channel().await);
    let path = service.home.path().join("bad.jsonl");
    fs::write(&path, BAD).expect("written");
    let dataset = client.import_dataset(import(&path)).await.expect("it is kept").into_inner();
    let report = dataset.report.clone().expect("it was judged");
    assert_eq!((report.fit, report.error_count), (false, 1));
    assert_eq!(report.rows.map(|rows| (rows.read, rows.accepted)), Some((3, 2)));

    let job = |id: &str| {
        let model = example("base-model");
        let mut spec: JobSpec = spec();
        spec.model.path = Some(model);
        spec.data.train = vec![PathBuf::from(id).into()];
        v1::CreateJobRequest { spec: Some(spec.into()), request_id: None, from: None }
    };
    let status = jobs.create_job(job(&dataset.id)).await.expect_err("the data have an error");
    let message = "the dataset `bad.jsonl` has 1 of 3 rows that can't be trained on";
    assert_refused(&status, Code::InvalidArgument, "BAD_DATA", ("data.train[0].path", message));
    let problems = ftl_client::wire::details::unpack(&status).problems;
    assert_eq!(problems[1].field, Some(format!("{}:2", path.display())), "{problems:?}");

    // Mended, but nobody has looked.
    fs::write(&path, BAD.replace('5', "\"two\"")).expect("written");
    jobs.create_job(job(&dataset.id)).await.expect_err("its report is the old one");
    let (_, report) = checked(&mut client, check(&dataset.id, None)).await.expect("a report");
    assert_eq!(report.counts, []);
    jobs.create_job(job(&dataset.id)).await.expect("the new report has no errors");
    let now =
        client.get_dataset(v1::GetDatasetRequest { id: dataset.id.clone() }).await.expect("it is there");
    let now = now.into_inner();
    assert!(now.report.expect("it was judged").fit);
    assert_ne!(now.sha256, dataset.sha256);
}

#[tokio::test]
async fn reports_are_kept_with_what_the_data_were_held_against() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let path = example("first-run/train.jsonl");
    let dataset = client.import_dataset(import(&path)).await.expect("good data").into_inner();
    let model = example("base-model");
    let (n_told, report) =
        checked(&mut client, check(&dataset.id, Some(model.clone()))).await.expect("a report");
    assert!(n_told > 0 && report.tokens.is_some(), "{report:?}");

    let list = v1::ListDatasetReportsRequest { id: dataset.id.clone() };
    let reports = client.list_dataset_reports(list).await.expect("a list").into_inner().reports;
    let model = Some(model.display().to_string());
    let listed: Vec<_> = reports.iter().map(|report| (report.number, report.model.clone())).collect();
    assert_eq!(listed, [(2, model.clone()), (1, None)]);
    let get = |number| v1::GetDatasetReportRequest { id: dataset.id.clone(), number };
    let newest = client.get_dataset_report(get(0)).await.expect("it is kept").into_inner();
    assert_eq!((newest.report.as_ref(), newest.summary.as_ref()), (Some(&report), Some(&reports[0])));
    assert_eq!(newest.check.expect("it is kept").model, model);
    let first = client.get_dataset_report(get(1)).await.expect("it is kept").into_inner();
    assert_eq!(first.report.expect("it is kept").tokens, None);
    // What a model makes of the data is not what they are.
    let now =
        client.get_dataset(v1::GetDatasetRequest { id: dataset.id.clone() }).await.expect("it is there");
    assert_eq!(now.into_inner().report.expect("it was judged").number, 1);

    let status = client.get_dataset_report(get(9)).await.expect_err("there are two");
    let message = format!("there is no report `{}/9`", dataset.id);
    assert_refused(&status, Code::NotFound, "REPORT_NOT_FOUND", ("", &message));
    let gone = DatasetId::from_bits(3).to_string();
    let status = client.list_dataset_reports(v1::ListDatasetReportsRequest { id: gone }).await;
    assert_eq!(status.expect_err("there is none").code(), Code::NotFound);
}

#[tokio::test]
async fn files_are_judged_without_being_kept() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let path = service.home.path().join("bad.jsonl");
    fs::write(&path, BAD).expect("written");
    let (_, report) = checked(&mut client, check(&path.display().to_string(), None)).await.expect("a report");
    assert_eq!(report.findings[0].row, Some(2));
    let list = v1::ListDatasetsRequest { page_size: 0, page_token: String::new() };
    assert_eq!(client.list_datasets(list).await.expect("a list").into_inner().datasets, []);

    // A file that is held out is looked through too.
    let held_out = service.home.path().join("eval.jsonl");
    fs::write(&held_out, BAD).expect("written");
    let data = DataSpec {
        train: vec![path.into()],
        eval: Some(EvalSpec { fraction: None, path: Some(held_out) }),
        ..DataSpec::default()
    };
    let request =
        v1::ValidateDatasetRequest { check: Some(v1::DataCheck { data: Some(data.into()), model: None }) };
    let (_, report) = checked(&mut client, request).await.expect("a report");
    assert_eq!(report.held_out.expect("something is held out").overlap, 2);
}

#[tokio::test]
async fn checks_of_nothing_are_refused() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let nothing = v1::ValidateDatasetRequest { check: Some(v1::DataCheck::default()) };
    let status = client.validate_dataset(nothing).await.expect_err("no file");
    assert_refused(&status, Code::InvalidArgument, "MISSING_KEY", ("data.train", "no data file is named"));
    let gone = DatasetId::from_bits(3).to_string();
    let status =
        client.validate_dataset(check(&gone, Some("models/x".into()))).await.expect_err("no dataset");
    let message = format!("there is no dataset `{gone}`");
    assert_refused(&status, Code::InvalidArgument, "NOT_FOUND", ("data.train[0].path", &message));
    let problems = ftl_client::wire::details::unpack(&status).problems;
    assert_eq!(problems[1].field.as_deref(), Some("model"), "{problems:?}");
}

#[tokio::test]
async fn a_check_ends_when_the_service_does() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let path = service.home.path().join("long.jsonl");
    fs::write(&path, format!("{{\"text\": \"{}\"}}\n", "word ".repeat(200)).repeat(60_000)).expect("written");
    let request = check(&path.display().to_string(), None);
    let mut parts = client.validate_dataset(request).await.expect("it begins").into_inner();
    parts.message().await.expect("how far it is").expect("a part");
    service.shutdown.cancel();
    let status = tokio::time::timeout(LONG, async {
        loop {
            match parts.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended as if it were done"),
                Err(status) => return status,
            }
        }
    });
    let status = status.await.expect("it ends");
    assert_refused(&status, Code::Unavailable, "SHUTTING_DOWN", ("", "the service is shutting down"));
}

#[tokio::test]
async fn a_dataset_is_divided_into_two_of_the_services_own() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let path = example("first-run/train.jsonl");
    let dataset = client.import_dataset(import(&path)).await.expect("good data").into_inner();
    let by = |by| v1::SplitDatasetRequest {
        id: dataset.id.clone(),
        by: Some(by),
        train_name: String::new(),
        eval_name: "held out".to_owned(),
    };
    let fraction = By::Fraction(v1::SplitByFraction { eval: 0.2, seed: 7 });
    let v1::SplitDatasetResponse { train, eval } =
        client.split_dataset(by(fraction)).await.expect("divided").into_inner();
    let (train, eval) = (train.expect("a dataset"), eval.expect("a dataset"));
    assert_eq!((train.name.as_str(), eval.name.as_str()), ("train.jsonl-train", "held out"));
    assert_eq!(train.row_count + eval.row_count, dataset.row_count);
    for part in [&train, &eval] {
        assert_eq!(part.owner(), v1::dataset::Owner::Service);
        assert!(part.report.as_ref().is_some_and(|report| report.fit) && part.row_count > 0, "{part:?}");
        assert!(Path::new(&part.path).starts_with(service.dir.datasets()), "{part:?}");
    }

    // A file that a job will read stays.
    let mut spec: JobSpec = spec();
    spec.data.train = vec![PathBuf::from(&train.path).into()];
    let job = service.job_with(spec).await;
    let delete = |id: &str| v1::DeleteDatasetRequest { id: id.to_owned() };
    let status = client.delete_dataset(delete(&train.id)).await.expect_err("a job reads it");
    let message = format!("job `{job}`, which is QUEUED, reads the file of this dataset");
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("id", &message));
    client.delete_dataset(delete(&eval.id)).await.expect("nobody reads it");
    assert!(!Path::new(&eval.path).exists() && Path::new(&train.path).is_file() && path.is_file());

    let cases = [
        (By::Fraction(v1::SplitByFraction { eval: 1.0, seed: 7 }), "fraction.eval", "1 is no share of rows"),
        (By::Fraction(v1::SplitByFraction { eval: f64::NAN, seed: 7 }), "fraction.eval", "NaN is no share"),
        (By::Place(v1::SplitByPlace { eval_rows: 0 }), "place.eval_rows", "0 rows can't be held out"),
        (By::Place(v1::SplitByPlace { eval_rows: 1 << 40 }), "place.eval_rows", "and one must stay"),
    ];
    for (case, field, message) in cases {
        let status = client.split_dataset(by(case)).await.expect_err(message);
        let problem = &ftl_client::wire::details::unpack(&status).problems[0];
        assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
        assert!(problem.message.contains(message), "{problem:?}");
    }
    // Of what was refused nothing is left.
    assert_eq!(fs::read_dir(service.dir.datasets()).expect("a directory").count(), 1);
}

#[tokio::test]
async fn a_row_is_rendered_for_a_model() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let dataset = client.import_dataset(import(&example("first-run/train.jsonl"))).await.expect("good data");
    let id = dataset.into_inner().id;
    let render = |row| v1::RenderSampleRequest {
        id: id.clone(),
        row,
        model: example("base-model").display().to_string(),
        chat_template: None,
    };
    let row = client.render_sample(render(1)).await.expect("a row").into_inner();
    let tokens = &row.texts[0].tokens;
    assert!(tokens.iter().any(|token| token.trained) && tokens.iter().any(|token| !token.trained), "{row:?}");
    let status = client.render_sample(render(0)).await.expect_err("no row");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("row", "rows count from 1"));
    let relative = v1::RenderSampleRequest { chat_template: Some("x.jinja".to_owned()), ..render(1) };
    let status = client.render_sample(relative).await.expect_err("whose directory?");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("chat_template", "must be absolute"));
}
