//! Names that people give: the same rule for configs, datasets and models.

use ftl_client::wire::v1;
use ftl_client::wire::v1::config_service_client::ConfigServiceClient;
use ftl_client::wire::v1::dataset_service_client::DatasetServiceClient;
use ftl_client::wire::v1::model_service_client::ModelServiceClient;
use ftl_core::JobSpec;
use tonic::Code;
use v1::import_dataset_request::Source;

use super::support::{Service, assert_refused};

#[tokio::test]
async fn names_have_1_to_200_characters_in_one_line() {
    let service = Service::start().await;
    let channel = service.channel().await;
    let mut configs = ConfigServiceClient::new(channel.clone());
    let mut datasets = DatasetServiceClient::new(channel.clone());
    let mut models = ModelServiceClient::new(channel);
    let cases = [
        (" ".to_owned(), "the name is empty"),
        ("ä".repeat(201), "the name has 201 characters, at most 200"),
        ("a\nb".to_owned(), "the name holds a line break or another control character"),
        ("a\u{7f}".to_owned(), "the name holds a line break or another control character"),
    ];
    for (name, message) in cases {
        let config = v1::CreateConfigRequest { name: name.clone(), spec: Some(JobSpec::default().into()) };
        let path = "/data/x".to_owned();
        let dataset = v1::ImportDatasetRequest {
            source: Some(Source::Path(path.clone())),
            name: name.clone(),
            format: 0,
        };
        let model = v1::ImportModelRequest { path, name };
        let statuses = [
            configs.create_config(config).await.map(|_| ()),
            datasets.import_dataset(dataset).await.map(|_| ()),
            models.import_model(model).await.map(|_| ()),
        ];
        for status in statuses {
            let status = status.expect_err(message);
            assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("name", message));
        }
    }
    let longest = v1::CreateConfigRequest { name: "ä".repeat(200), spec: Some(JobSpec::default().into()) };
    configs.create_config(longest).await.expect("as long as it may be");
}

#[tokio::test]
async fn paths_of_imports_are_absolute() {
    let service = Service::start().await;
    let channel = service.channel().await;
    let mut datasets = DatasetServiceClient::new(channel.clone());
    let mut models = ModelServiceClient::new(channel);
    let cases = [
        ("", "MISSING_KEY", "the path is missing"),
        ("train.jsonl", "INVALID_VALUE", "the path must be absolute, `train.jsonl` is not"),
        ("~/train.jsonl", "INVALID_VALUE", "the path must be absolute, `~/train.jsonl` is not"),
        ("/data/\0", "INVALID_VALUE", "the path holds a zero byte"),
    ];
    for (path, reason, message) in cases {
        let dataset = v1::ImportDatasetRequest {
            source: Some(Source::Path(path.to_owned())),
            name: String::new(),
            format: 0,
        };
        let model = v1::ImportModelRequest { path: path.to_owned(), name: String::new() };
        let statuses = [
            datasets.import_dataset(dataset).await.map(|_| ()),
            models.import_model(model).await.map(|_| ()),
        ];
        for status in statuses {
            let status = status.expect_err(message);
            assert_refused(&status, Code::InvalidArgument, reason, ("path", message));
        }
    }
}
