//! What a spec says of its files reaches their rows: columns of all files and of one, and entries of LLaMA-Factory.

use std::fs;

use ftl_core::dataset::{Code, DatasetReport};
use ftl_core::spec::resolved::{Data, DataFormat, Eval, TrainFile};
use ftl_core::spec::{Columns, Field};
use ftl_core::{Event, StopSignal};
use ftl_trainer::data::format::DATASET_INFO;
use ftl_trainer::data::report::{CheckRequest, Fingerprint, check, plain};
use serde_json::json;

fn report(data: &Data) -> DatasetReport {
    let request = CheckRequest { data, model: None, train: None, seed: 0, fingerprint: Fingerprint::Sha256 };
    check(&request, &mut |_: &Event| {}, &StopSignal::new()).expect("a report")
}

fn columns(pairs: &[(Field, &str)]) -> Columns {
    pairs.iter().map(|(field, column)| (*field, (*column).to_owned())).collect()
}

#[test]
fn columns_of_all_files_and_of_one_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, row: &str| {
        let path = folder.path().join(name);
        fs::write(&path, row).expect("a file");
        path
    };
    let one = file("one.jsonl", "{\"frage\": \"a\", \"antwort\": \"b\"}\n");
    let other = file("other.jsonl", "{\"frage\": \"a\", \"reponse\": \"c\"}\n");
    let held_out = file("held_out.jsonl", "{\"frage\": \"d\", \"antwort\": \"e\"}\n");
    let files = || [one.clone(), other.clone()];
    let unnamed = report(&plain(files(), DataFormat::Auto));
    assert_eq!(unnamed.rows.accepted, 0);
    assert!(unnamed.findings.iter().all(|finding| finding.code == Code::UnknownFormat));

    let mut data = plain(files(), DataFormat::Auto);
    data.columns = columns(&[(Field::Question, "frage"), (Field::Answer, "antwort")]);
    data.train[1].columns = columns(&[(Field::Answer, "reponse")]);
    data.eval = Eval::File(held_out);
    let named = report(&data);
    assert_eq!((named.rows.accepted, named.findings.as_slice()), (3, &[][..]));
    let formats: Vec<_> = named.files.iter().map(|file| file.format).collect();
    assert_eq!(formats, [Some(DataFormat::QuestionAnswer); 3]);
}

#[test]
fn an_entry_of_llama_factory_is_read_as_it_says_and_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join(DATASET_INFO);
    let entries = json!({
        "mine": {"file_name": "mine.json", "columns": {"prompt": "frage", "response": "antwort"}, "num_samples": 1},
        "orca": {"hf_hub_url": "a/b"},
    });
    fs::write(&list, entries.to_string()).expect("a list");
    let rows = json!([{"frage": "a", "antwort": "b"}, {"frage": "c", "antwort": "d"}]);
    fs::write(folder.path().join("mine.json"), rows.to_string()).expect("a file");
    let mut data = plain([list], DataFormat::Auto);
    data.train[0].dataset = Some("mine".to_owned());
    let read = report(&data);
    assert_eq!((read.rows.read, read.rows.accepted), (1, 1));
    assert_eq!(read.files[0].format, Some(DataFormat::Alpaca));
    assert!(read.files[0].path.ends_with("mine.json"));
    assert!(read.files[0].notes[0].contains("as the dataset `mine` of `dataset_info.json`"));

    data.train
        .push(TrainFile { dataset: Some("orca".to_owned()), ..TrainFile::new(data.train[0].path.clone()) });
    let refused = report(&data);
    assert!(!refused.is_fit());
    assert_eq!(
        refused.findings.iter().map(|finding| finding.code).collect::<Vec<_>>(),
        [Code::UnreadableFile]
    );
    assert!(refused.findings[0].message.contains("training fetches nothing"), "{:?}", refused.findings);
}
