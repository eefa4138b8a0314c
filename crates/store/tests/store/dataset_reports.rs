//! Reports on datasets.

use ftl_core::DatasetId;
use ftl_core::dataset::{Dataset, DatasetFacts};
use ftl_core::spec::resolved::DataFormat;
use ftl_store::{Checked, StoreError};

use crate::datasets::{dataset, kept, report};
use crate::given::store;

#[test]
fn a_report_outlives_the_store_and_comes_back_whole() {
    let given = store();
    let id = kept(&given.store, dataset(1, DataFormat::Text)).unwrap().id;
    let new = report(5, 3);
    let summary = given.store.keep_report(&id, new.clone(), Checked::With).wait().unwrap();
    assert_eq!((summary.number, summary.is_fit, summary.n_errors), (2, false, 3));
    let given = given.reopened();
    let found = given.store.report(&id, None).wait().unwrap().unwrap();
    assert_eq!((&found.summary, &found.check, &found.report), (&summary, &new.check, &new.report));
    assert_eq!(given.store.report(&id, Some(2)).wait().unwrap(), Some(found));
    let first = given.store.report(&id, Some(1)).wait().unwrap().unwrap();
    assert!(first.summary.is_fit);
    for number in [0, 3, u64::MAX] {
        assert_eq!(given.store.report(&id, Some(number)).wait().unwrap(), None, "{number}");
    }
}

#[test]
fn only_a_check_of_the_data_by_themselves_changes_what_the_dataset_is() {
    let given = store();
    let before = kept(&given.store, dataset(1, DataFormat::Text)).unwrap();
    given.store.keep_report(&before.id, report(5, 3), Checked::With).wait().unwrap();
    assert_eq!(given.store.dataset(&before.id).wait().unwrap(), Some(before.clone()));
    let facts = DatasetFacts { format: DataFormat::Messages, n_rows: 7, bytes: 9, sha256: "cd".repeat(32) };
    let checked = Checked::ByItself(facts.clone());
    let summary = given.store.keep_report(&before.id, report(6, 1), checked).wait().unwrap();
    let after = Dataset { facts, report: Some(summary), ..before };
    assert_eq!(given.store.dataset(&after.id).wait().unwrap(), Some(after));
}

#[test]
fn the_last_ten_reports_are_kept_and_numbers_go_on() {
    let given = store();
    let id = kept(&given.store, dataset(1, DataFormat::Text)).unwrap().id;
    let other = kept(&given.store, dataset(2, DataFormat::Text)).unwrap().id;
    for bits in 0..14 {
        given.store.keep_report(&id, report(bits, bits), Checked::With).wait().unwrap();
    }
    let reports = given.store.reports(&id).wait().unwrap();
    let numbers: Vec<u64> = reports.iter().map(|report| report.number).collect();
    assert_eq!(numbers, (6..=15).rev().collect::<Vec<_>>());
    assert_eq!(given.store.report(&id, Some(5)).wait().unwrap(), None);
    assert_eq!(given.store.reports(&other).wait().unwrap().len(), 1);
}

#[test]
fn reports_go_with_their_dataset() {
    let given = store();
    let id = kept(&given.store, dataset(1, DataFormat::Text)).unwrap().id;
    assert!(given.store.delete_dataset(&id).wait().unwrap());
    let gone = DatasetId::from_bits(1);
    assert!(matches!(given.store.report(&gone, None).wait(), Err(StoreError::NotFound)));
    assert!(matches!(given.store.reports(&gone).wait(), Err(StoreError::NotFound)));
    let kept_too_late = given.store.keep_report(&gone, report(1, 0), Checked::With).wait();
    assert!(matches!(kept_too_late, Err(StoreError::NotFound)));
    // The id can be given again, and begins anew.
    let id = kept(&given.store, dataset(1, DataFormat::Text)).unwrap().id;
    assert_eq!(given.store.reports(&id).wait().unwrap().len(), 1);
}
