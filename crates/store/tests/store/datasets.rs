//! Imported datasets.

use ftl_core::dataset::{
    Code, CodeCount, DataCheck, Dataset, DatasetFacts, DatasetReport, FileOwner, ReportSummary, RowCounts,
    Severity,
};
use ftl_core::spec::DataSpec;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, PageRequest};
use ftl_store::{NewReport, Store, StoreError};

use crate::given::store;

/// A dataset with its first report.
pub fn dataset(bits: u64, format: DataFormat) -> (Dataset, NewReport) {
    let facts = DatasetFacts { format, n_rows: 1841, bytes: 1 << 40, sha256: "ab".repeat(32) };
    let created_unix_ms = 1_700_000_000_000 + bits;
    let dataset = Dataset {
        id: DatasetId::from_bits(bits),
        name: format!("set {bits}"),
        path: "/data/train.jsonl".into(),
        owner: if bits.is_multiple_of(2) { FileOwner::Service } else { FileOwner::User },
        facts,
        report: None,
        created_unix_ms,
    };
    (dataset, report(created_unix_ms, 0))
}

/// A report on rows of which some are bad.
pub fn report(created_unix_ms: u64, rejected: u64) -> NewReport {
    let rows = RowCounts { read: 1841, accepted: 1841 - rejected, rejected, dropped: 0 };
    let count = CodeCount { code: Code::NotJson, severity: Severity::Error, rows: rejected };
    let counts = if rejected > 0 { vec![count] } else { Vec::new() };
    let check = DataCheck {
        data: DataSpec { train: vec!["/data/train.jsonl".into()], ..DataSpec::default() },
        model: Some("/models/tiny".to_owned()),
    };
    NewReport { created_unix_ms, check, report: DatasetReport { rows, counts, ..DatasetReport::default() } }
}

/// Keeps a dataset.
pub fn kept(store: &Store, new: (Dataset, NewReport)) -> Result<Dataset, StoreError> {
    store.create_datasets(vec![new]).wait().map(|mut made| made.remove(0))
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
        let (dataset, report) = dataset(bits, format);
        let summary = ReportSummary {
            number: 1,
            created_unix_ms: report.created_unix_ms,
            model: Some("/models/tiny".to_owned()),
            is_fit: true,
            rows: report.report.rows,
            n_errors: 0,
            n_warnings: 0,
        };
        let with_report = Dataset { report: Some(summary), ..dataset.clone() };
        assert_eq!(kept(&given.store, (dataset, report)).unwrap(), with_report);
        let dataset = with_report;
        assert_eq!(given.store.dataset(&dataset.id).wait().unwrap(), Some(dataset));
    }
    assert_eq!(given.store.dataset(&DatasetId::from_bits(404)).wait().unwrap(), None);
}

#[test]
fn datasets_are_listed_newest_first_in_pages() {
    let given = store();
    let mut all: Vec<Dataset> =
        (1..=3).map(|bits| kept(&given.store, dataset(bits, DataFormat::Text)).unwrap()).collect();
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
    let id = kept(&given.store, dataset(1, DataFormat::Text)).unwrap().id;
    assert!(given.store.delete_dataset(&id).wait().unwrap());
    assert!(!given.store.delete_dataset(&id).wait().unwrap());
    assert_eq!(given.store.dataset(&id).wait().unwrap(), None);
}

#[test]
fn a_datasets_id_is_given_once() {
    let given = store();
    kept(&given.store, dataset(1, DataFormat::Text)).unwrap();
    let again = kept(&given.store, dataset(1, DataFormat::Tokens));
    assert!(matches!(again, Err(StoreError::IdTaken)));
    // All or none.
    let both = vec![dataset(2, DataFormat::Text), dataset(1, DataFormat::Text)];
    assert!(matches!(given.store.create_datasets(both).wait(), Err(StoreError::IdTaken)));
    assert_eq!(given.store.dataset(&DatasetId::from_bits(2)).wait().unwrap(), None);
}
