//! Real data files: each is recognised as what its source says, and every row is accepted or refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use ftl_core::dataset::Code;
use ftl_core::spec::resolved::{Data, DataFormat, Eval, ExcessLength, LossOn, Rows, SampleOrder, TrainFile};
use ftl_core::spec::{Columns, Field};
use ftl_trainer::data::fault::Fault;
use ftl_trainer::data::format::{Asked, DATASET_INFO, DatasetInfo, Example, FileFormat, Source, example};
use serde_json::{Value, json};

/// The rows of a file, whatever its name: a JSON array, JSON Lines, or one text; gzip is unpacked. What does not parse is
/// left out, since it never gets as far as a format.
fn rows(path: &Path) -> Vec<Value> {
    let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if bytes.starts_with(&[0x1F, 0x8B]) {
        let mut unpacked = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).expect("gzip");
        bytes = unpacked;
    }
    if path.extension().is_some_and(|extension| extension == "txt") {
        return vec![json!({"text": String::from_utf8(bytes).expect("UTF-8")})];
    }
    match serde_json::from_slice(&bytes) {
        Ok(rows) => rows,
        Err(_) => {
            bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
        }
    }
}

/// Where the data are; without them the tests say so and pass, as elsewhere.
fn data() -> Option<PathBuf> {
    let data = std::env::var_os("FTL_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("FTL_DATA is not set: nothing is compared");
    }
    data
}

fn found(path: &Path) -> FileFormat {
    FileFormat::detect(&rows(path), &Asked::of(DataFormat::Auto))
        .unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// What becomes of each row: `None` if it is accepted.
fn judged(path: &Path, format: &FileFormat) -> Vec<Option<Fault>> {
    rows(path).iter().map(|row| example(row, &format.layout).err()).collect()
}

/// The codes of refused rows, by number from 1.
fn refused(path: &Path, format: &FileFormat) -> BTreeMap<usize, Code> {
    let numbered = judged(path, format).into_iter().zip(1..);
    numbered.filter_map(|(fault, number)| Some((number, fault?.code))).collect()
}

#[test]
fn every_dataset_is_recognised_and_every_row_accepted() {
    let Some(data) = data() else { return };
    for (file, format) in [
        ("alpaca/alpaca_en_demo.json", DataFormat::Alpaca),
        ("alpaca/alpaca_tiny.json", DataFormat::Alpaca),
        ("alpaca/identity.json", DataFormat::Alpaca),
        ("dpo/dpo_en_demo.json", DataFormat::Preference),
        ("dpo/v1_dpo_demo.jsonl", DataFormat::Preference),
        ("openai_messages/reason_tool_use_demo_50.jsonl", DataFormat::Messages),
        ("openai_messages/sft_messages_from_kto.jsonl", DataFormat::Messages),
        ("openai_messages/toy_chat_fine_tuning_first4.jsonl", DataFormat::Messages),
        ("openai_messages/v1_sft_demo.jsonl", DataFormat::Messages),
        ("openai_messages/xtuner_openai_sft.jsonl", DataFormat::Messages),
        ("prompt_completion/wwdc25_train.jsonl", DataFormat::PromptCompletion),
        ("prompt_completion/wwdc25_valid.jsonl", DataFormat::PromptCompletion),
        ("question_answer/gsm8k_train_first2000.jsonl", DataFormat::QuestionAnswer),
        ("sharegpt/glaive_toolcall_en_demo.json", DataFormat::Sharegpt),
        ("text/c4_demo.jsonl", DataFormat::Text),
        ("text/tinyshakespeare.txt", DataFormat::Text),
        ("text/tinystories_train_part1.txt", DataFormat::Text),
        ("text/tinystories_v2_sample.txt", DataFormat::Text),
        ("text/wiki_demo.txt", DataFormat::Text),
        ("text/wikisql_train.jsonl", DataFormat::Text),
        ("text/wikisql_valid.jsonl", DataFormat::Text),
    ] {
        let path = data.join("datasets").join(file);
        let found = found(&path);
        assert_eq!((found.layout.format, found.confidence), (format, 1.0), "{file}");
        assert_eq!((found.others.as_slice(), found.notes.as_slice()), (&[][..], &[][..]), "{file}");
        let faults: Vec<_> = judged(&path, &found).into_iter().flatten().take(3).collect();
        assert_eq!(faults, [], "{file}");
        for row in rows(&path) {
            let (_, notices) = example(&row, &found.layout).expect("accepted");
            assert_eq!(notices, [], "{file}: {row}");
        }
    }
}

#[test]
fn tool_turns_are_kept() {
    let Some(data) = data() else { return };
    let path = data.join("datasets/sharegpt/glaive_toolcall_en_demo.json");
    let (mut n_turns, mut n_calls, mut n_results) = (0, 0, 0);
    let mut n_given = 0;
    let found = found(&path);
    for row in rows(&path) {
        n_given += row["conversations"].as_array().expect("a list").len();
        let Ok((Example::Conversation(read), _)) = example(&row, &found.layout) else { panic!("{row}") };
        n_turns += read.messages.len();
        n_calls += read.messages.iter().filter(|message| message.calls() && message.is_trained()).count();
        n_results += read.messages.iter().filter(|message| message.role.name() == "tool").count();
        assert!(
            read.tools.is_none() || read.tools.as_ref().is_some_and(|tools| tools[0]["type"] == "function")
        );
    }
    assert_eq!((n_turns, n_calls, n_results), (n_given, 211, 211));
}

#[test]
fn labelled_rows_are_explained() {
    let Some(data) = data() else { return };
    let path = data.join("datasets/kto/kto_en_demo.json");
    let found = found(&path);
    assert_eq!(found.layout.format, DataFormat::Messages);
    let judged = judged(&path, &found);
    assert!(judged.len() > 100 && judged.iter().flatten().all(|fault| fault.code == Code::Kto));
    assert!(judged.iter().all(Option::is_some));
    let named = FileFormat::detect(&rows(&path), &Asked::of(DataFormat::Messages)).expect("named");
    for row in rows(&path) {
        let (_, notices) = example(&row, &named.layout).expect("read without its label");
        assert_eq!(notices.iter().map(|notice| notice.code).collect::<Vec<_>>(), [Code::LabelIgnored]);
    }
}

#[test]
fn what_is_not_recognised_is_read_once_its_columns_are_named() {
    let Some(data) = data() else { return };
    let path = data.join("datasets/eval/HumanEval.jsonl.gz");
    let rows = rows(&path);
    let fault = FileFormat::detect(&rows, &Asked::of(DataFormat::Auto)).expect_err("no format");
    assert_eq!(fault.code, Code::UnknownFormat);
    let hint = "say which column is which, as in `data.columns = { completion = \"canonical_solution\" }`";
    assert_eq!(fault.hint.as_deref(), Some(hint));
    let columns = [(Field::Completion, "canonical_solution".to_owned())].into_iter().collect();
    let asked = Asked { columns, ..Asked::of(DataFormat::Auto) };
    let found = FileFormat::detect(&rows, &asked).expect("a format");
    assert_eq!(found.layout.format, DataFormat::PromptCompletion);
    assert!(rows.iter().all(|row| example(row, &found.layout).is_ok()) && rows.len() == 164);
}

#[test]
fn rows_of_other_formats_are_refused_by_name() {
    let Some(data) = data() else { return };
    let path = data.join("dirty/mixed_schemas.jsonl");
    let found = found(&path);
    // Two rows are messages, as are two each of alpaca and of questions; messages come first of these.
    assert_eq!((found.layout.format, found.confidence), (DataFormat::Messages, 0.2));
    assert_eq!(found.others.iter().map(|other| other.rows).sum::<u64>(), 8);
    let expected = [1, 3, 4, 5, 6, 7, 8, 9].map(|number| (number, Code::OtherFormat));
    assert_eq!(refused(&path, &found), expected.into_iter().collect());
}

#[test]
fn defects_of_instructions_are_told_apart() {
    let Some(data) = data() else { return };
    let path = data.join("dirty/missing_fields_alpaca.json");
    let found = found(&path);
    assert_eq!(found.layout.format, DataFormat::Alpaca);
    let expected = [
        (2, Code::MissingField),
        (3, Code::WrongType),
        (4, Code::EmptyField),
        (5, Code::WrongType),
        (6, Code::WrongType),
        (7, Code::EmptyField),
        (10, Code::EmptyField),
    ];
    assert_eq!(refused(&path, &found), expected.into_iter().collect());
    // Row 11 has its keys in capitals: they are read, and that is said.
    let (_, notices) = example(&rows(&path)[10], &found.layout).expect("read");
    assert!(!notices.is_empty() && notices.iter().all(|notice| notice.code == Code::KeyCase));
}

#[test]
fn defects_of_conversations_are_told_apart() {
    let Some(data) = data() else { return };
    let path = data.join("dirty/bad_roles.jsonl");
    let found = found(&path);
    assert_eq!(found.layout.format, DataFormat::Messages);
    let expected = [
        (3, Code::UnknownRole),
        (4, Code::EmptyField),
        (7, Code::NoMessages),
        (8, Code::WrongType),
        (9, Code::BadMessage),
        (10, Code::BadMessage),
        (12, Code::NoAnswer),
    ];
    assert_eq!(refused(&path, &found), expected.into_iter().collect());
}

#[test]
fn defects_of_pairs_are_told_apart() {
    let Some(data) = data() else { return };
    let path = data.join("dirty/dpo_bad.json");
    let found = found(&path);
    assert_eq!(found.layout.format, DataFormat::Preference);
    let expected =
        [(2, Code::SamePair), (3, Code::MissingField), (4, Code::EmptyField), (6, Code::MissingField)];
    assert_eq!(refused(&path, &found), expected.into_iter().collect());
}

/// LLaMA-Factory's own list, and the files of it that are here, in one folder as there.
fn llama_factory(data: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let datasets = data.join("datasets");
    for file in [
        "dataset_info.json",
        "alpaca/alpaca_en_demo.json",
        "alpaca/identity.json",
        "dpo/dpo_en_demo.json",
        "kto/kto_en_demo.json",
        "sharegpt/glaive_toolcall_en_demo.json",
        "text/c4_demo.jsonl",
        "text/wiki_demo.txt",
    ] {
        let from = datasets.join(file);
        fs::copy(&from, folder.path().join(from.file_name().expect("a name"))).expect("a copy");
    }
    folder
}

#[test]
fn every_entry_of_llama_factory_is_understood_and_its_files_are_read() {
    let Some(data) = data() else { return };
    let folder = llama_factory(&data);
    let list = folder.path().join(DATASET_INFO);
    let info = DatasetInfo::read(&list).expect("all entries");
    let listed: Value = serde_json::from_slice(&fs::read(&list).expect("the list")).expect("JSON");
    assert_eq!(info.entries().len(), listed.as_object().expect("entries").len());
    let mut here = Vec::new();
    for entry in info.entries() {
        match Source::of(&list, Some(&entry.name), DataFormat::Auto, &Columns::default()) {
            Ok(source) => here.push((entry.name.clone(), source)),
            Err(Fault { code, what, .. }) => {
                assert_eq!(code, Code::UnreadableFile);
                let is_explained = what.contains("training fetches nothing") || what.contains("is not there");
                assert!(is_explained && what.contains(&format!("`{}`", entry.name)), "{what}");
            }
        }
    }
    let formats: Vec<(&str, DataFormat)> =
        here.iter().map(|(name, source)| (name.as_str(), source.asked.format)).collect();
    assert_eq!(
        formats,
        [
            ("identity", DataFormat::Alpaca),
            ("alpaca_en_demo", DataFormat::Alpaca),
            ("glaive_toolcall_en_demo", DataFormat::Sharegpt),
            ("dpo_en_demo", DataFormat::Preference),
            ("kto_en_demo", DataFormat::Messages),
            ("wiki_demo", DataFormat::Text),
            ("c4_demo", DataFormat::Text),
        ]
    );
    for (name, source) in here {
        // A file beside the list is read the same way without naming its entry.
        let beside = Source::of(&source.path, None, DataFormat::Auto, &Columns::default()).expect("a source");
        assert_eq!(beside, source);
        assert!(source.notes[0].contains(&format!("as the dataset `{name}` of `{DATASET_INFO}`")), "{name}");
        let found = FileFormat::detect(&rows(&source.path), &source.asked).expect("a format");
        let is_kto = name == "kto_en_demo";
        for fault in judged(&source.path, &found) {
            assert_eq!(fault.map(|fault| fault.code), is_kto.then_some(Code::Kto), "{name}");
        }
    }
}

#[test]
fn an_entry_renames_columns_and_tags() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join(DATASET_INFO);
    let entries = json!({
        "mine": {"file_name": "mine.json", "formatting": "sharegpt", "num_samples": 3, "split": "test",
                 "columns": {"messages": "talk", "system": "scene", "images": "pictures"},
                 "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "kunde", "assistant_tag": "berater",
                          "function_tag": "ruf", "observation_tag": "antwort"}},
        "pairs": {"file_name": "pairs.json", "ranking": true,
                  "columns": {"prompt": "frage", "query": "dazu", "chosen": "gut", "rejected": "schlecht"}},
        "twice": {"file_name": "pairs.json", "columns": {"prompt": "frage"}},
        "orca": {"hf_hub_url": "a/b", "columns": {"prompt": "question"}},
        "gone": {"file_name": "gone.json"},
    });
    fs::write(&list, entries.to_string()).expect("a list");
    let turn = |who: &str, says: &str| json!({"who": who, "says": says});
    let call = json!({"name": "f", "arguments": {}}).to_string();
    let mine = json!([
        {"scene": "s", "talk": [turn("kunde", "a"), turn("ruf", &call), turn("antwort", "1"), turn("berater", "b")]},
        {"talk": [turn("kunde", "a"), turn("berater", "b")], "pictures": ["a.png"]},
    ]);
    fs::write(folder.path().join("mine.json"), mine.to_string()).expect("a file");
    let pairs = json!([{"frage": "q", "dazu": "i", "gut": "a", "schlecht": "b"}]);
    fs::write(folder.path().join("pairs.json"), pairs.to_string()).expect("a file");
    let of = |path: &str, dataset: Option<&str>| {
        Source::of(&folder.path().join(path), dataset, DataFormat::Auto, &Columns::default())
    };

    let source = of("mine.json", None).expect("listed");
    assert_eq!(source.notes.len(), 2);
    assert_eq!(
        source.notes[0],
        "`mine.json` is read as the dataset `mine` of `dataset_info.json`: format sharegpt, columns messages = `talk`, \
         system = `scene`"
    );
    let layout = FileFormat::detect(mine.as_array().expect("rows"), &source.asked).expect("named").layout;
    let Ok((Example::Conversation(read), _)) = example(&mine[0], &layout) else { panic!("a conversation") };
    let roles: Vec<&str> = read.messages.iter().map(|message| message.role.name()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant"]);
    assert_eq!(example(&mine[1], &layout).expect_err("pictures").code, Code::NotText);

    // Two entries that differ: the file is left to its own rows, and that is said.
    let pair = of("pairs.json", None).expect("a source");
    assert_eq!(pair.asked, Asked::of(DataFormat::Auto));
    assert!(pair.notes[0].contains("lists it in several ways (pairs, twice)"), "{:?}", pair.notes);
    let pair = of(DATASET_INFO, Some("pairs")).expect("named");
    let layout = FileFormat::detect(pairs.as_array().expect("rows"), &pair.asked).expect("named").layout;
    assert!(matches!(example(&pairs[0], &layout), Ok((Example::Pair { .. }, _))));

    // The user's own words beat the list.
    let columns: Columns = [(Field::Chosen, "schlecht".to_owned())].into_iter().collect();
    let own = Source::of(&list, Some("pairs"), DataFormat::Auto, &columns).expect("named");
    assert_eq!(own.asked.columns.get(Field::Chosen), Some("schlecht"));
    assert_eq!(own.asked.columns.get(Field::Rejected), Some("schlecht"));

    for (path, dataset, expected) in [
        (DATASET_INFO, Some("mein"), "has no dataset `mein`"),
        (
            DATASET_INFO,
            Some("orca"),
            "says that the dataset `orca` comes from Hugging Face (`a/b`), and training fetches nothing",
        ),
        (DATASET_INFO, Some("gone"), "has a dataset `gone` whose file is not there: "),
        (DATASET_INFO, None, "is a list of datasets of LLaMA-Factory, not data"),
    ] {
        let fault = of(path, dataset).expect_err("a fault");
        assert!(fault.what.starts_with(expected), "{fault}");
    }
    let fault = of(DATASET_INFO, Some("mein")).expect_err("a fault");
    assert_eq!(fault.hint.as_deref(), Some("did you mean `mine`?"));
    let fault = of(DATASET_INFO, None).expect_err("a fault");
    assert!(
        fault.hint.expect("what to do").ends_with("its datasets whose files are here: mine, pairs, twice")
    );
}

#[test]
fn a_file_s_own_columns_beat_those_of_all() {
    let columns = |field, column: &str| [(field, column.to_owned())].into_iter().collect::<Columns>();
    let file = TrainFile { columns: columns(Field::Output, "loesung"), ..TrainFile::new("a.json") };
    let data = Data {
        train: vec![file],
        format: DataFormat::Auto,
        columns: columns(Field::Instruction, "aufgabe").or(&columns(Field::Output, "x")),
        eval: Eval::Never,
        max_length: None,
        excess_length_strategy: ExcessLength::Error,
        loss_on: LossOn::AssistantTokens,
        rows: Rows::Samples,
        order: SampleOrder::File,
        max_samples: None,
        chat_template: None,
    };
    let source = Source::of_train(&data, &data.train[0]).expect("a source");
    let row = json!({"aufgabe": "a", "loesung": "b", "text": "c", "x": "d"});
    let found = FileFormat::detect([&row], &source.asked).expect("a format");
    assert_eq!(found.layout.format, DataFormat::Alpaca);
    let Ok((Example::Instruction { instruction, output, .. }, _)) = example(&row, &found.layout) else {
        panic!("an instruction")
    };
    assert_eq!((instruction.as_str(), output.as_str()), ("a", "b"));
}
