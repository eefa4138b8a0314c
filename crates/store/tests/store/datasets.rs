//! Imported datasets.

use ftl_core::dataset::{Dataset, DatasetFacts};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, PageRequest};
use ftl_store::StoreError;

use crate::given::store;

fn dataset(bits: u64, format: DataFormat) -> Dataset {
    let facts = DatasetFacts { format, n_rows: 1841, bytes: 1 << 40, sha256: "ab".repeat(32) };
    Dataset {
        id: DatasetId::from_bits(bits),
        name: format!("set {bits}"),
        path: "/data/train.jsonl".into(),
        facts,
        created_unix_ms: 1_700_000_000_000 + bits,
    }
}

#[test]
fn a_dataset_comes_back_as_it_was_whatever_its_format() {
    let given = store();
    let formats = [
        DataFormat::Auto,
        DataFormat::Messages,
        DataFormat::Sharegpt,
        DataFormat::Alpaca,
        DataFormat::PromptCompletion,
        DataFormat::QuestionAnswer,
        DataFormat::Text,
        DataFormat::Preference,
        DataFormat::Tokens,
    ];
    for (bits, format) in (1..).zip(formats) {
        let dataset = dataset(bits, format);
        assert_eq!(given.store.create_dataset(dataset.clone()).wait().unwrap(), dataset);
        assert_eq!(given.store.dataset(&dataset.id).wait().unwrap(), Some(dataset));
    }
    assert_eq!(given.store.dataset(&DatasetId::from_bits(404)).wait().unwrap(), None);
}

#[test]
fn datasets_are_listed_newest_first_in_pages() {
    let given = store();
    let mut all: Vec<Dataset> = (1..=3).map(|bits| dataset(bits, DataFormat::Text)).collect();
    for dataset in &all {
        given.store.create_dataset(dataset.clone()).wait().unwrap();
    }
    all.reverse();
    let first = given.store.datasets(&PageRequest { page_size: 2, page_token: None }).wait().unwrap();
    assert_eq!(first.items, all[..2]);
    let rest = PageRequest { page_size: 2, page_token: first.next_page_token };
    let second = given.store.datasets(&rest).wait().unwrap();
    assert_eq!((&second.items[..], second.next_page_token), (&all[2..], None));
}

#[test]
fn a_dataset_is_forgotten_once() {
    let given = store();
    let id = given.store.create_dataset(dataset(1, DataFormat::Text)).wait().unwrap().id;
    assert!(given.store.delete_dataset(&id).wait().unwrap());
    assert!(!given.store.delete_dataset(&id).wait().unwrap());
    assert_eq!(given.store.dataset(&id).wait().unwrap(), None);
}

#[test]
fn a_datasets_id_is_given_once() {
    let given = store();
    given.store.create_dataset(dataset(1, DataFormat::Text)).wait().unwrap();
    let again = given.store.create_dataset(dataset(1, DataFormat::Tokens)).wait();
    assert!(matches!(again, Err(StoreError::IdTaken)));
}
