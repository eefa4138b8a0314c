//! Which format the rows of a file are in, and what is said where none is recognised.

use ftl_core::dataset::Code;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::spec::{Columns, Field};
use ftl_trainer::data::fault::Fault;
use ftl_trainer::data::format::{Asked, FileFormat, Other, example};
use serde_json::{Value, json};

fn detected(rows: &[Value]) -> Result<FileFormat, Fault> {
    FileFormat::detect(rows, &Asked::of(DataFormat::Auto))
}

#[test]
fn formats_are_told_by_their_keys() {
    let said = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
    let chat = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    for (row, expected) in [
        (json!({"messages": []}), DataFormat::Messages),
        (chat.clone(), DataFormat::Messages),
        (said.clone(), DataFormat::Sharegpt),
        (json!({"conversations": chat}), DataFormat::Messages),
        (json!({"conversations": said}), DataFormat::Sharegpt),
        (json!({"conversation": said}), DataFormat::Sharegpt),
        (json!({"dialogue": chat}), DataFormat::Messages),
        (json!({"chat": said, "id": 1}), DataFormat::Sharegpt),
        // A table holds lists as text.
        (json!({"messages": chat.to_string()}), DataFormat::Messages),
        (
            json!({"messages": [{"role": "human", "content": "a"}, {"role": "bot", "content": "b"}]}),
            DataFormat::Sharegpt,
        ),
        (json!({"instruction": "a", "output": "b"}), DataFormat::Alpaca),
        (json!({"instruction": "a", "output": "b", "text": "c"}), DataFormat::Alpaca),
        (json!({"instruction": "a", "response": "b"}), DataFormat::Alpaca),
        (json!({"instruction": "a", "context": "", "response": "b", "category": "c"}), DataFormat::Alpaca),
        (json!({"prompt": "a", "completion": "b"}), DataFormat::PromptCompletion),
        (json!({"prompt": "a", "response": "b"}), DataFormat::PromptCompletion),
        (json!({"question": "a", "answer": "b"}), DataFormat::QuestionAnswer),
        (json!({"Question": "a", "Answer": "b"}), DataFormat::QuestionAnswer),
        (json!({"q": "a", "a": "b"}), DataFormat::QuestionAnswer),
        (json!({"text": "a"}), DataFormat::Text),
        (json!({"content": "a", "url": "b"}), DataFormat::Text),
        (json!({"dialogue": "a text", "text": "b"}), DataFormat::Text),
        (json!({"prompt": "a", "chosen": "b", "rejected": "c"}), DataFormat::Preference),
        (json!({"prompt": "a", "chosen": chat, "rejected": chat, "messages": chat}), DataFormat::Preference),
        (json!({"input_ids": [1]}), DataFormat::Tokens),
        (json!({"chosen_input_ids": [1]}), DataFormat::Preference),
    ] {
        let found = detected(std::slice::from_ref(&row)).unwrap_or_else(|fault| panic!("{row}: {fault}"));
        assert_eq!((found.layout.format, found.confidence), (expected, 1.0), "{row}");
    }
}

/// What is said of a file of this row, and what to do.
fn unknown(row: &Value) -> (String, Option<String>) {
    let Fault { code, what, hint } = detected(std::slice::from_ref(row)).expect_err("no format");
    assert_eq!(code, Code::UnknownFormat);
    (what, hint)
}

#[test]
fn a_file_in_which_nothing_is_recognised_names_its_keys_and_a_way_out() {
    let (what, _) = unknown(&json!({"a": 1, "b": 2}));
    assert_eq!(
        what,
        "is in no known format: its rows have the keys `a`, `b`; expected one of: messages, conversations, instruction + \
         output, prompt + completion, question + answer, text, chosen + rejected, input_ids"
    );
    assert!(
        unknown(&json!(3)).0.starts_with("has a number for a row; expected objects with one of: messages")
    );
    for (row, columns) in [
        (json!({"mesages": [{"role": "user", "content": "a"}]}), "messages = \"mesages\""),
        (
            json!({"prompt": "a", "canonical_solution": "b", "test": "a longer text"}),
            "completion = \"canonical_solution\"",
        ),
        (json!({"instruction": "a", "result": "b"}), "output = \"result\""),
        (json!({"task": "a", "answer": "b"}), "instruction = \"task\""),
        (json!({"utterances": [{"role": "user", "content": "a"}], "id": "x"}), "messages = \"utterances\""),
        (json!({"raw": "a", "n": 3}), "text = \"raw\""),
        (json!({"frage": "a", "antwort": "b"}), "instruction = \"frage\", output = \"antwort\""),
    ] {
        let (_, hint) = unknown(&row);
        let expected = format!("say which column is which, as in `data.columns = {{ {columns} }}`");
        assert_eq!(hint, Some(expected), "{row}");
    }
    let (_, hint) = unknown(&json!({"role": "user", "content": "a"}));
    let expected = "each row is one message; put all messages of a conversation into one row, as a list";
    assert_eq!(hint.as_deref(), Some(expected));
}

#[test]
fn a_file_is_in_the_format_of_most_of_its_rows() {
    let (text, pair) = (json!({"text": "a"}), json!({"question": "a", "answer": "b"}));
    let found = detected(&[pair.clone(), text.clone(), json!({"x": 1}), text.clone()]).expect("a format");
    assert_eq!((found.layout.format, found.confidence), (DataFormat::Text, 0.5));
    assert_eq!(found.others, [Other { format: DataFormat::QuestionAnswer, rows: 1 }]);
    // Where rows can be read matters more than what their keys show.
    let blank = json!({"text": ""});
    let found = detected(&[blank.clone(), blank.clone(), pair]).expect("a format");
    assert_eq!(found.layout.format, DataFormat::QuestionAnswer);
    // Rows that no format reads still say which they were meant to be.
    assert_eq!(detected(&[blank]).expect("a format").layout.format, DataFormat::Text);
    // A named format beats all.
    let found = FileFormat::detect(&[text], &Asked::of(DataFormat::QuestionAnswer)).expect("named");
    assert_eq!((found.layout.format, found.confidence), (DataFormat::QuestionAnswer, 1.0));
}

#[test]
fn named_columns_take_the_place_of_the_usual_names() {
    let asked = |columns: &[(Field, &str)]| {
        let columns =
            columns.iter().map(|(field, column)| (*field, (*column).to_owned())).collect::<Columns>();
        Asked { columns, ..Asked::of(DataFormat::Auto) }
    };
    // `question` and `answer` are here, but they were said to be something else.
    let row = json!({"question": "a", "solution": "b", "answer": "c"});
    let named = asked(&[(Field::Instruction, "question"), (Field::Output, "solution")]);
    let found = FileFormat::detect([&row], &named).expect("a format");
    assert_eq!((found.layout.format, found.notes.as_slice()), (DataFormat::Alpaca, &[][..]));
    let deep = json!({"data": {"prompt": "a", "answers": ["b", "c"]}});
    let named = asked(&[(Field::Prompt, "data.prompt"), (Field::Completion, "data.answers.1")]);
    let found = FileFormat::detect([&deep], &named).expect("a format");
    assert_eq!(found.layout.format, DataFormat::PromptCompletion);
    example(&deep, &found.layout).expect("read");
    // A column that is not there is a fault of the row where the format needs it, else a note of the file.
    let named = asked(&[(Field::Output, "reply"), (Field::System, "scene"), (Field::Text, "page")]);
    let named = Asked { format: DataFormat::Alpaca, ..named };
    let row = json!({"instruction": "a", "output": "b", "solution": "c"});
    let found = FileFormat::detect([&row], &named).expect("named");
    assert_eq!(
        found.notes,
        [
            "no row of the first 1 has the column `scene`, where `system` was said to be",
            "no row of the first 1 has the column `reply`, where `output` was said to be",
            "the column `page` was said to be `text`, which the format `alpaca` does not have",
        ]
    );
    let fault = example(&row, &found.layout).expect_err("no such column");
    assert_eq!(fault.code, Code::MissingField);
    assert_eq!(
        fault.what,
        "has no column `reply`, where `output` was said to be; it has the keys `instruction`, `output`, `solution`"
    );
}
