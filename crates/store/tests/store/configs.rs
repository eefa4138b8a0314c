//! Kept configs.

use ftl_core::config::Config;
use ftl_core::{ConfigId, JobSpec, PageRequest};
use ftl_store::StoreError;

use crate::given::{spec, store};

fn config(bits: u64, name: &str) -> Config {
    Config {
        id: ConfigId::from_bits(bits),
        name: name.to_owned(),
        spec: spec(),
        created_unix_ms: 1_700_000_000_000,
        updated_unix_ms: 1_700_000_000_000,
    }
}

#[test]
fn a_config_comes_back_as_it_was() {
    let given = store();
    let whole = config(1, "whole");
    let empty = Config { spec: JobSpec::default(), ..config(2, "empty") };
    for config in [whole, empty] {
        assert_eq!(given.store.create_config(config.clone()).wait().unwrap(), config);
        assert_eq!(given.store.config(&config.id).wait().unwrap(), Some(config));
    }
    assert_eq!(given.store.config(&ConfigId::from_bits(404)).wait().unwrap(), None);
}

#[test]
fn no_two_configs_share_a_name() {
    let given = store();
    given.store.create_config(config(1, "mine")).wait().unwrap();
    let other = given.store.create_config(config(2, "other")).wait().unwrap();
    let error = given.store.create_config(config(3, "mine")).wait().unwrap_err();
    assert!(matches!(error, StoreError::NameTaken));
    assert_eq!(error.to_string(), "the name is taken; choose another");
    let renamed = given.store.update_config(&other.id, "mine".to_owned(), spec()).wait();
    assert!(matches!(renamed, Err(StoreError::NameTaken)));
    assert!(matches!(given.store.create_config(config(1, "new")).wait(), Err(StoreError::IdTaken)));
}

#[test]
fn a_config_can_change_and_keep_its_name() {
    let given = store();
    let id = given.store.create_config(config(1, "mine")).wait().unwrap().id;
    let changed = given.store.update_config(&id, "mine".to_owned(), JobSpec::default()).wait().unwrap();
    assert_eq!((&changed.spec, changed.created_unix_ms), (&JobSpec::default(), 1_700_000_000_000));
    assert!(changed.updated_unix_ms > changed.created_unix_ms);
    assert_eq!(given.store.config(&id).wait().unwrap(), Some(changed));
    let renamed = given.store.update_config(&id, "renamed".to_owned(), spec()).wait().unwrap();
    assert_eq!((renamed.name, renamed.spec), ("renamed".to_owned(), spec()));
    let unknown = given.store.update_config(&ConfigId::from_bits(404), "x".to_owned(), spec()).wait();
    assert!(matches!(unknown, Err(StoreError::NotFound)));
}

#[test]
fn configs_are_listed_newest_first_in_pages() {
    let given = store();
    for (bits, name) in (1..).zip(["c", "a", "b"]) {
        given.store.create_config(config(bits, name)).wait().unwrap();
    }
    let first = given.store.configs(&PageRequest { page_size: 2, page_token: None }).wait().unwrap();
    assert_eq!(first.items, [config(3, "b"), config(2, "a")]);
    let rest = PageRequest { page_size: 2, page_token: first.next_page_token };
    let second = given.store.configs(&rest).wait().unwrap();
    assert_eq!((&second.items[..], second.next_page_token), (&[config(1, "c")][..], None));
}

#[test]
fn a_config_is_forgotten_once_and_its_name_is_free() {
    let given = store();
    let id = given.store.create_config(config(1, "mine")).wait().unwrap().id;
    assert!(given.store.delete_config(&id).wait().unwrap());
    assert!(!given.store.delete_config(&id).wait().unwrap());
    assert!(given.store.create_config(config(2, "mine")).wait().is_ok());
}
