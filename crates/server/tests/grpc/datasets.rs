//! `DatasetService`, with real workers.

use std::fmt::Write as _;
use std::fs;

use ftl_client::wire::v1;
use ftl_client::wire::v1::dataset_service_client::DatasetServiceClient;
use ftl_core::DatasetId;
use tonic::Code;
use v1::import_dataset_request::Source;

use super::support::{Service, assert_refused, example};

fn import(path: &std::path::Path) -> v1::ImportDatasetRequest {
    let source = Some(Source::Path(path.display().to_string()));
    v1::ImportDatasetRequest { source, name: String::new(), format: 0 }
}

#[tokio::test]
async fn dataset_is_imported_previewed_and_forgotten() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let path = example("first-run/eval.jsonl");
    let text = fs::read_to_string(&path).expect("an example");
    let dataset = client.import_dataset(import(&path)).await.expect("good data").into_inner();
    assert_eq!(dataset.name, "eval.jsonl");
    assert_eq!((dataset.row_count, dataset.bytes), (text.lines().count() as u64, text.len() as u64));
    let got =
        client.get_dataset(v1::GetDatasetRequest { id: dataset.id.clone() }).await.expect("it is there");
    assert_eq!(got.into_inner(), dataset);
    assert_eq!(dataset.owner(), v1::dataset::Owner::User);
    let report = dataset.report.as_ref().expect("it was judged");
    assert!(report.fit && report.number == 1 && report.error_count == 0, "{report:?}");
    let list = v1::ListDatasetsRequest { page_size: 0, page_token: String::new() };
    let listed = client.list_datasets(list).await.expect("a page").into_inner().datasets;
    assert_eq!(listed, std::slice::from_ref(&dataset));

    client.delete_dataset(v1::DeleteDatasetRequest { id: dataset.id.clone() }).await.expect("it is there");
    assert!(path.is_file(), "its file stays");
    let message = format!("there is no dataset `{}`", dataset.id);
    let id = dataset.id;
    let preview = v1::PreviewDatasetRequest { id: id.clone(), page_size: 0, page_token: String::new() };
    let statuses = [
        client.get_dataset(v1::GetDatasetRequest { id: id.clone() }).await.map(|_| ()),
        client.preview_dataset(preview).await.map(|_| ()),
        client.delete_dataset(v1::DeleteDatasetRequest { id }).await.map(|_| ()),
    ];
    for status in statuses {
        let status = status.expect_err("it is gone");
        assert_refused(&status, Code::NotFound, "DATASET_NOT_FOUND", ("", &message));
    }
}

#[tokio::test]
async fn rows_come_in_pages_that_end_with_the_file() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let path = service.home.path().join("rows.jsonl");
    let mut text = String::new();
    for number in 1..=5 {
        writeln!(text, r#"{{"text": "row {number}"}}"#).expect("text");
    }
    fs::write(&path, text).expect("written");
    let dataset = client.import_dataset(import(&path)).await.expect("good data").into_inner();
    let mut request =
        v1::PreviewDatasetRequest { id: dataset.id.clone(), page_size: 2, page_token: String::new() };
    let (mut numbers, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = client.preview_dataset(request.clone()).await.expect("a page").into_inner();
        sizes.push(page.rows.len());
        assert!(page.rows.iter().all(|row| row.json.contains(&format!("row {}", row.number))), "{page:?}");
        numbers.extend(page.rows.into_iter().map(|row| row.number));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((numbers, sizes), (vec![1, 2, 3, 4, 5], vec![2, 2, 1]));

    let request = v1::PreviewDatasetRequest { page_token: "-1".to_owned(), ..request };
    let status = client.preview_dataset(request).await.expect_err("no token of ours");
    let message = "the page token was not given out for this list";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("page_token", message));
}

#[tokio::test]
async fn page_of_long_rows_fits_into_a_message() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let path = service.home.path().join("long.jsonl");
    let row = format!("{{\"text\": \"{}\"}}\n", "word ".repeat(200_000));
    fs::write(&path, row.repeat(6)).expect("written");
    let dataset = client.import_dataset(import(&path)).await.expect("good data").into_inner();
    let mut request = v1::PreviewDatasetRequest { id: dataset.id, page_size: 0, page_token: String::new() };
    let mut numbers = Vec::new();
    loop {
        let page = client.preview_dataset(request.clone()).await.expect("it fits").into_inner();
        numbers.extend(page.rows.iter().map(|row| row.number));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn data_that_can_not_be_used_is_refused() {
    let service = Service::start().await;
    let mut client = DatasetServiceClient::new(service.channel().await);
    let absent = service.home.path().join("absent.jsonl");
    let status = client.import_dataset(import(&absent)).await.expect_err("it is not there");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("absent.jsonl"), "{status:?}");

    let request = v1::ImportDatasetRequest { format: 99, ..import(&absent) };
    let status = client.import_dataset(request).await.expect_err("no format");
    let message = "`DataFormat` has no value 99, expected 1 to 9";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("format", message));

    let id = DatasetId::from_bits(3).to_string();
    let status = client.get_dataset(v1::GetDatasetRequest { id }).await.expect_err("nothing was kept");
    assert_eq!(status.code(), Code::NotFound);
}
