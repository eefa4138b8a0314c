//! Imported models.

use ftl_core::model::ModelFacts;
use ftl_core::{ModelId, PageRequest};
use ftl_store::{StoreError, StoredModel};

use crate::given::store;

fn model(bits: u64) -> StoredModel {
    let facts = ModelFacts {
        architecture: "LlamaForCausalLM".to_owned(),
        model_type: "llama".to_owned(),
        parameters: 1_100_048_384,
        weight_bytes: (bits > 1).then_some(2_200_119_864),
        context_tokens: 2048,
        vocab_size: 32_000,
        n_layers: 22,
        hidden_size: 2048,
        lora_targets: vec!["q_proj".to_owned(), "v_proj".to_owned()],
        chat_template: (bits > 1).then(|| "tokenizer_config.json".to_owned()),
    };
    StoredModel {
        id: ModelId::from_bits(bits),
        name: "tiny".to_owned(),
        path: "/models/tiny".into(),
        facts,
        created_unix_ms: 1_700_000_000_000 + bits,
    }
}

#[test]
fn a_model_comes_back_as_it_was() {
    let given = store();
    for bits in 1..=2 {
        let model = model(bits);
        assert_eq!(given.store.create_model(model.clone()).wait().unwrap(), model);
        assert_eq!(given.store.model(&model.id).wait().unwrap(), Some(model));
    }
    assert_eq!(given.store.model(&ModelId::from_bits(404)).wait().unwrap(), None);
}

#[test]
fn models_are_listed_newest_first_in_pages() {
    let given = store();
    for bits in 1..=3 {
        given.store.create_model(model(bits)).wait().unwrap();
    }
    let first = given.store.models(&PageRequest { page_size: 2, page_token: None }).wait().unwrap();
    assert_eq!(first.items, [model(3), model(2)]);
    let rest = PageRequest { page_size: 2, page_token: first.next_page_token };
    let second = given.store.models(&rest).wait().unwrap();
    assert_eq!((&second.items[..], second.next_page_token), (&[model(1)][..], None));
}

#[test]
fn a_model_is_forgotten_once() {
    let given = store();
    let id = given.store.create_model(model(1)).wait().unwrap().id;
    assert!(given.store.delete_model(&id).wait().unwrap());
    assert!(!given.store.delete_model(&id).wait().unwrap());
    assert_eq!(given.store.model(&id).wait().unwrap(), None);
}

#[test]
fn a_models_id_is_given_once() {
    let given = store();
    given.store.create_model(model(1)).wait().unwrap();
    assert!(matches!(given.store.create_model(model(1)).wait(), Err(StoreError::IdTaken)));
}
