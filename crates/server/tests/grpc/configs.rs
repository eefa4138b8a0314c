//! `ConfigService`.

use ftl_client::wire::v1;
use ftl_client::wire::v1::config_service_client::ConfigServiceClient;
use ftl_core::spec::{DataSpec, ModelSpec};
use ftl_core::{ConfigId, JobSpec};
use ftl_server::presets::presets;
use tonic::Code;
use tonic::transport::Channel;

use super::support::{Service, assert_refused, spec};

async fn client(service: &Service) -> ConfigServiceClient<Channel> {
    ConfigServiceClient::new(service.channel().await)
}

fn create(name: &str) -> v1::CreateConfigRequest {
    v1::CreateConfigRequest { name: name.to_owned(), spec: Some(JobSpec::default().into()) }
}

#[tokio::test]
async fn configs_are_kept_changed_cloned_and_forgotten() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let made = client.create_config(create("mine")).await.expect("a new name").into_inner();
    let id = made.id.clone();
    let got = client.get_config(v1::GetConfigRequest { id: id.clone() }).await.expect("it is there");
    assert_eq!(got.into_inner(), made);

    let changed =
        v1::UpdateConfigRequest { id: id.clone(), name: "ours".to_owned(), spec: Some(spec().into()) };
    let changed = client.update_config(changed).await.expect("it is there").into_inner();
    assert_eq!((changed.name.as_str(), &changed.spec), ("ours", &Some(spec().into())));

    let clone = v1::CloneConfigRequest { id: id.clone(), name: "theirs".to_owned() };
    let clone = client.clone_config(clone).await.expect("a new name").into_inner();
    assert_eq!((clone.name.as_str(), clone.spec), ("theirs", changed.spec));
    assert_ne!(clone.id, id);

    let list = v1::ListConfigsRequest { page_size: 1, page_token: String::new() };
    let page = client.list_configs(list.clone()).await.expect("a page").into_inner();
    assert_eq!(page.configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>(), ["theirs"]);
    let list = v1::ListConfigsRequest { page_token: page.next_page_token, ..list };
    let page = client.list_configs(list).await.expect("a page").into_inner();
    assert_eq!(page.configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>(), ["ours"]);
    assert_eq!(page.next_page_token, "");

    client.delete_config(v1::DeleteConfigRequest { id: id.clone() }).await.expect("it is there");
    let status = client.get_config(v1::GetConfigRequest { id }).await.expect_err("it is gone");
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn name_that_is_taken_is_refused() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let first = client.create_config(create("mine")).await.expect("a new name").into_inner();
    let second = client.create_config(create("other")).await.expect("a new name").into_inner();
    let update = v1::UpdateConfigRequest {
        id: second.id,
        name: "mine".to_owned(),
        spec: Some(JobSpec::default().into()),
    };
    let statuses = [
        client.create_config(create("mine")).await.map(|_| ()),
        client.update_config(update).await.map(|_| ()),
        client
            .clone_config(v1::CloneConfigRequest { id: first.id, name: "mine".to_owned() })
            .await
            .map(|_| ()),
    ];
    for status in statuses {
        let status = status.expect_err("the name is taken");
        let message = "the name is taken; choose another";
        assert_refused(&status, Code::AlreadyExists, "INVALID_VALUE", ("name", message));
    }
}

#[tokio::test]
async fn configs_of_no_id_are_not_found() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let id = ConfigId::from_bits(1).to_string();
    let name = "x".to_owned();
    let update =
        v1::UpdateConfigRequest { id: id.clone(), name: name.clone(), spec: Some(JobSpec::default().into()) };
    let statuses = [
        client.get_config(v1::GetConfigRequest { id: id.clone() }).await.map(|_| ()),
        client.update_config(update).await.map(|_| ()),
        client.clone_config(v1::CloneConfigRequest { id: id.clone(), name }).await.map(|_| ()),
        client.delete_config(v1::DeleteConfigRequest { id: id.clone() }).await.map(|_| ()),
    ];
    for status in statuses {
        let status = status.expect_err("nothing has this id");
        let message = format!("there is no config `{id}`");
        assert_refused(&status, Code::NotFound, "CONFIG_NOT_FOUND", ("", &message));
    }
}

#[tokio::test]
async fn verdict_on_a_spec_is_an_answer() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let ask = |spec: JobSpec| v1::ValidateConfigRequest { spec: Some(spec.into()) };
    let good = client.validate_config(ask(spec())).await.expect("an answer").into_inner();
    assert_eq!(good.problems, []);
    let resolved = JobSpec::try_from(good.resolved.expect("a spec")).expect("it means something");
    assert_eq!(resolved, spec().check().expect("a good spec").to_spec());

    let mut bad = spec();
    bad.adapter.r = Some(0);
    let bad = client.validate_config(ask(bad)).await.expect("an answer").into_inner();
    assert_eq!(bad.resolved, None);
    assert_eq!(bad.problems[0].field.as_deref(), Some("adapter.r"));

    // As `CreateJob` would: what the service can't find is a problem too.
    let mut relative = spec();
    relative.model.path = Some("small".into());
    let relative = client.validate_config(ask(relative)).await.expect("an answer").into_inner();
    assert_eq!(relative.problems[0].message, "the path must be absolute, `small` is not");
}

#[tokio::test]
async fn presets_are_listed() {
    let service = Service::start().await;
    let listed = client(&service).await.list_presets(v1::ListPresetsRequest {}).await.expect("a list");
    let names: Vec<_> = listed.into_inner().presets.into_iter().map(|preset| preset.name).collect();
    let expected = [
        "lora",
        "qlora",
        "lora-quick",
        "lora-thorough",
        "lora-low-memory",
        "full",
        "dpo",
        "continued-pretraining",
    ];
    assert_eq!(names, expected);
}

#[test]
fn every_preset_passes_once_model_and_data_are_named() {
    for preset in presets() {
        assert_eq!((&preset.spec.model, preset.spec.data.train.as_slice()), (&ModelSpec::default(), &[][..]));
        let problems = preset.spec.check().expect_err("it names no model");
        assert_eq!(problems.len(), 2, "{}: {problems:?}", preset.name);
        let spec = JobSpec {
            model: ModelSpec { path: Some("/models/small".into()), ..preset.spec.model },
            data: DataSpec { train: vec!["/data/train.jsonl".into()], ..preset.spec.data },
            ..preset.spec
        };
        spec.check().unwrap_or_else(|problems| panic!("{}: {problems:?}", preset.name));
        assert!(!preset.description.contains('\n') && !preset.description.ends_with('.'), "{}", preset.name);
    }
}

#[tokio::test]
async fn schema_is_that_of_the_spec() {
    let service = Service::start().await;
    let answer = client(&service).await.get_spec_schema(v1::GetSpecSchemaRequest {}).await.expect("a schema");
    let schema: serde_json::Value = serde_json::from_str(&answer.into_inner().json).expect("JSON");
    assert_eq!(schema, JobSpec::json_schema());
}
