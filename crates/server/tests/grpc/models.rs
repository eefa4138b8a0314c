//! `ModelService`, with real workers, and what names stand for.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_client::wire::v1;
use ftl_client::wire::v1::config_service_client::ConfigServiceClient;
use ftl_client::wire::v1::dataset_service_client::DatasetServiceClient;
use ftl_client::wire::v1::model::Source;
use ftl_client::wire::v1::model_service_client::ModelServiceClient;
use ftl_core::ModelId;
use ftl_server::hugging_face::Cache;
use tonic::Code;

use super::support::{Service, assert_refused, example, spec};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A model as huggingface_hub lays it out; its directory.
fn cached(hub: &Path, name: &str, commit: &str) -> PathBuf {
    let directory = hub.join(format!("models--{}", name.replace('/', "--")));
    let snapshot = directory.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).expect("made");
    fs::create_dir_all(directory.join("refs")).expect("made");
    fs::write(directory.join("refs/main"), commit).expect("written");
    fs::write(snapshot.join("config.json"), "{}").expect("written");
    snapshot
}

#[test]
fn cache_has_the_models_that_have_a_config() {
    let home = tempfile::tempdir().expect("a directory");
    let hub = home.path();
    let cache = Cache::at(hub);
    let snapshot = cached(hub, "org/small-1.5B", COMMIT);
    cached(hub, "gpt2", COMMIT);
    // No weights were asked for, an unfinished download, a dataset, a commit that is none, somebody's own folder.
    fs::remove_file(cached(hub, "org/tokenizer-only", COMMIT).join("config.json")).expect("removed");
    fs::remove_dir_all(hub.join("models--org--tokenizer-only/refs")).expect("removed");
    cached(hub, "org/unfinished", "abc");
    cached(hub, "org/lines", &format!("{COMMIT}\n{COMMIT}"));
    fs::create_dir_all(hub.join("datasets--org--rows/snapshots")).expect("made");
    fs::create_dir_all(hub.join("models--a--b--c/snapshots")).expect("made");
    let names: Vec<_> = cache.models().into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["gpt2", "org/small-1.5B"]);
    assert_eq!(cache.find("org/small-1.5B").map(|model| model.path), Some(snapshot));
}

#[test]
fn no_name_leads_out_of_the_cache() {
    let home = tempfile::tempdir().expect("a directory");
    let hub = home.path().join("hub");
    let outside = cached(home.path(), "org/outside", COMMIT);
    assert!(outside.is_dir());
    let inside = cached(&hub, "org/inside", COMMIT);
    assert!(inside.is_dir());
    let cache = Cache::at(&hub);
    assert!(cache.find("org/inside").is_some());
    for name in [
        "../models--org--outside",
        "..",
        "org/..",
        "org/inside/",
        "/org/inside",
        "org--inside",
        "org/a/b",
        "",
        "-a/b",
        ".a/b",
        "org/in\0side",
    ] {
        assert!(cache.find(name).is_none(), "{name}");
    }
    // A revision is a commit, never a path.
    cached(&hub, "org/climber", COMMIT);
    fs::write(hub.join("models--org--climber/refs/main"), "../../models--org--inside/snapshots/x")
        .expect("written");
    assert!(cache.find("org/climber").is_none());
}

#[tokio::test]
async fn model_is_imported_inspected_and_forgotten() {
    let service = Service::start().await;
    let mut client = ModelServiceClient::new(service.channel().await);
    let path = example("base-model");
    let request = v1::ImportModelRequest { path: path.display().to_string(), name: String::new() };
    let model = client.import_model(request).await.expect("a model").into_inner();
    assert_eq!((model.name.as_str(), Path::new(&model.path)), ("base-model", path.as_path()));
    let Some(Source::Imported(imported)) = model.source else { panic!("{model:?}") };
    let facts = imported.facts.expect("facts");
    assert!(facts.parameter_count > 0 && facts.layer_count > 0, "{facts:?}");

    for name in [imported.id.clone(), path.display().to_string()] {
        let request = v1::InspectModelRequest { model: name };
        let answer = client.inspect_model(request).await.expect("a model").into_inner();
        assert_eq!((Path::new(&answer.path), answer.facts), (path.as_path(), Some(facts.clone())));
    }

    client.delete_model(v1::DeleteModelRequest { id: imported.id.clone() }).await.expect("it is there");
    assert!(path.join("config.json").is_file(), "its files stay");
    let message = format!("there is no model `{}`", imported.id);
    let request = v1::DeleteModelRequest { id: imported.id.clone() };
    let status = client.delete_model(request).await.expect_err("it is gone");
    assert_refused(&status, Code::NotFound, "MODEL_NOT_FOUND", ("", &message));
    let request = v1::InspectModelRequest { model: imported.id };
    let status = client.inspect_model(request).await.expect_err("it is gone");
    assert_refused(&status, Code::InvalidArgument, "NOT_FOUND", ("model", &message));
}

#[tokio::test]
async fn what_is_no_model_is_refused() {
    let service = Service::start().await;
    let mut client = ModelServiceClient::new(service.channel().await);
    let status =
        client.inspect_model(v1::InspectModelRequest { model: String::new() }).await.expect_err("nothing");
    assert_refused(&status, Code::InvalidArgument, "MISSING_KEY", ("model", "the model is missing"));
    let request = v1::InspectModelRequest { model: "org/absent".to_owned() };
    let status = client.inspect_model(request).await.expect_err("it is not in the cache");
    let message = "the path must be absolute, `org/absent` is not";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("model", message));
    let request =
        v1::ImportModelRequest { path: service.home.path().display().to_string(), name: String::new() };
    let status = client.import_model(request).await.expect_err("there is no config.json");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let list = v1::ListModelsRequest { page_size: 0, page_token: String::new() };
    assert_eq!(client.list_models(list).await.expect("a page").into_inner().models, []);
}

#[tokio::test]
async fn imported_models_are_listed_before_cached_ones_across_pages() {
    let service = Service::start().await;
    let mut client = ModelServiceClient::new(service.channel().await);
    for name in ["org/b", "org/a", "gpt2"] {
        cached(&service.home.path().join("hub"), name, COMMIT);
    }
    let path = example("base-model").display().to_string();
    for name in ["first", "second", "third"] {
        let request = v1::ImportModelRequest { path: path.clone(), name: name.to_owned() };
        client.import_model(request).await.expect("a model");
    }
    let expected = ["third", "second", "first", "gpt2", "org/a", "org/b"];
    for page_size in [1, 2, 3, 4, 5, 6, 0] {
        let mut request = v1::ListModelsRequest { page_size, page_token: String::new() };
        let mut names = Vec::new();
        loop {
            let page = client.list_models(request.clone()).await.expect("a page").into_inner();
            assert!(!page.models.is_empty(), "{request:?}");
            names.extend(page.models.into_iter().map(|model| model.name));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(names, expected, "{page_size}");
    }
    for token in ["rubbish", "imported:", "imported:rubbish"] {
        let request = v1::ListModelsRequest { page_size: 0, page_token: token.to_owned() };
        let status = client.list_models(request).await.expect_err(token);
        let message = "the page token was not given out for this list";
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("page_token", message));
    }
}

#[tokio::test]
async fn names_in_a_spec_become_paths_and_its_default_name_stays_readable() {
    let service = Service::start().await;
    let channel = service.channel().await;
    let snapshot = cached(&service.home.path().join("hub"), "org/small", COMMIT);
    let file = example("first-run/eval.jsonl");
    let import = v1::ImportDatasetRequest {
        source: Some(v1::import_dataset_request::Source::Path(file.display().to_string())),
        name: "questions".to_owned(),
        format: 0,
    };
    let dataset = DatasetServiceClient::new(channel.clone())
        .import_dataset(import)
        .await
        .expect("good data")
        .into_inner();
    let model = example("base-model");
    let import = v1::ImportModelRequest { path: model.display().to_string(), name: "my model".to_owned() };
    let imported =
        ModelServiceClient::new(channel.clone()).import_model(import).await.expect("a model").into_inner();
    let Some(Source::Imported(imported)) = imported.source else { panic!("{imported:?}") };

    let mut configs = ConfigServiceClient::new(channel);
    let mut resolved = async |model: &str| {
        let mut asked = spec();
        asked.model.path = Some(model.into());
        asked.data.train = vec![dataset.id.as_str().into(), "/data/more.jsonl".into()];
        let asked = v1::ValidateConfigRequest { spec: Some(asked.into()) };
        let answer = configs.validate_config(asked).await.expect("an answer").into_inner();
        assert_eq!(answer.problems, []);
        let spec = ftl_core::JobSpec::try_from(answer.resolved.expect("a spec")).expect("it means something");
        let train: Vec<_> = spec.data.train.into_iter().map(|file| file.path).collect();
        assert_eq!(train, [file.clone(), "/data/more.jsonl".into()]);
        (spec.model.path.expect("a path"), spec.name.expect("a name"))
    };
    assert_eq!(resolved("org/small").await, (snapshot, "small-questions".to_owned()));
    assert_eq!(resolved(&imported.id).await, (model.clone(), "my model-questions".to_owned()));
    let path = model.display().to_string();
    assert_eq!(resolved(&path).await, (model, "base-model-questions".to_owned()));

    let mut absent = spec();
    absent.model.path = Some(ModelId::from_bits(9).as_str().into());
    let absent = v1::ValidateConfigRequest { spec: Some(absent.into()) };
    let answer = configs.validate_config(absent).await.expect("an answer").into_inner();
    let message = format!("there is no model `{}`", ModelId::from_bits(9));
    assert_eq!(
        (answer.problems[0].field.as_deref(), &answer.problems[0].message),
        (Some("model.path"), &message)
    );
}
