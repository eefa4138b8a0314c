use ftl_core::dataset::{Code, Container};
use serde_json::json;

use super::{good, read, refused};

#[test]
fn separators_are_found_in_the_header() {
    let rows = vec![json!({"prompt": "a; b, c", "completion": "d\te|f"})];
    for (name, text, container) in [
        ("a.csv", "prompt,completion\n\"a; b, c\",d\te|f\n", Container::Csv),
        ("a.csv", "prompt;completion\r\n\"a; b, c\";d\te|f", Container::Csv),
        ("a.tsv", "prompt\tcompletion\na; b, c\t\"d\te|f\"\n", Container::Tsv),
        ("a.csv", "prompt\tcompletion\na; b, c\t\"d\te|f\"\n", Container::Tsv),
        ("a.csv", "prompt|completion\na; b, c|\"d\te|f\"\n", Container::Csv),
        ("a.csv", "sep=;\r\nprompt;completion\r\n\"a; b, c\";d\te|f\r\n", Container::Csv),
        ("a.csv", "\u{feff}\"prompt\",\"completion\"\n\"a; b, c\",\"d\te|f\"\n", Container::Csv),
        // Not named as a table, but its header names columns of datasets.
        ("a.dat", "prompt,completion\n\"a; b, c\",d\te|f\n", Container::Csv),
    ] {
        assert_eq!(good(name, text.as_bytes()), (container, rows.clone()), "{text}");
    }
}

#[test]
fn quoted_cells_hold_lines_quotes_and_separators() {
    let text = "text,label\r\n\"one\r\n\r\n\"\"two\"\", three\",4\r\n\r\n,5\r\n\"\",\"\"";
    let seen = read("a.csv", text.as_bytes());
    assert_eq!(
        seen.rows,
        [
            json!({"text": "one\r\n\r\n\"two\", three", "label": "4"}),
            json!({"text": "", "label": "5"}),
            json!({"text": "", "label": ""})
        ]
    );
    assert_eq!(seen.lines, [Some(2), Some(6), Some(7)]);
}

#[test]
fn ragged_rows_are_bad_rows_with_their_line() {
    let text = "a,b\n1,2\n\"x\ny\",2,3\n\n4\n5,6\n7,\"8\n9,10\n";
    let seen = read("a.csv", text.as_bytes());
    assert_eq!(seen.rows, [json!({"a": "1", "b": "2"}), json!({"a": "5", "b": "6"})]);
    let found: Vec<(u64, Option<u64>, &str)> =
        seen.bad.iter().map(|(number, line, _, what)| (*number, *line, what.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, Some(3), "has 3 cells, its table has 2 columns"),
            (3, Some(6), "has 1 cell, its table has 2 columns"),
            (5, Some(8), "begins a quoted cell that no quote ends, so that the rest of the file is in it"),
        ]
    );
    assert!(seen.bad.iter().all(|bad| bad.2 == Code::WrongTable));
}

#[test]
fn headers_that_name_no_columns_are_explained() {
    for (text, code, expected) in [
        ("a,b\n", Code::EmptyFile, "`a.csv` has no rows, only a header"),
        ("\n\n", Code::EmptyFile, "`a.csv` is empty"),
        (",\n1,2\n", Code::NotData, "`a.csv` names no columns in its first line"),
        ("a,b,a\n1,2,3\n", Code::NotData, "`a.csv` has two columns named `a`"),
        ("\"a\nb\",c\n1,2\n", Code::NotData, "`a.csv` begins with `a\nb…`, which is no name of a column"),
    ] {
        assert_eq!(refused("a.csv", text.as_bytes()), (code, expected.to_owned()), "{text}");
    }
    assert_eq!(
        refused("a.csv", b"prompt,r\xE9ponse\n1,2\n"),
        (
            Code::NotUtf8,
            "`a.csv` has a column 2 whose name is not UTF-8 at byte 2 (0xE9, in Windows-1252 `é`)".to_owned()
        )
    );
    // pandas writes its index without a name.
    let seen = read("a.csv", b",text\n0,x\n");
    assert_eq!(seen.rows, [json!({"column 1": "0", "text": "x"})]);
    assert_eq!(seen.notes, ["column 1 of `a.csv` has no name and is called `column 1`"]);
}

#[test]
fn cells_of_messages_become_lists() {
    let text = r#"messages,text,chosen
"[{""role"": ""user"", ""content"": ""a""}]",[not a list],"[{""role"": ""assistant"", ""content"": ""b""}]"
"[{'role': 'user', 'content': 'a'}]",x,y
"[{""role"": ""user"",",x,y
plain,x,y
"#;
    let seen = read("a.csv", text.as_bytes());
    assert_eq!(
        seen.rows,
        [
            json!({
                "messages": [{"role": "user", "content": "a"}],
                "text": "[not a list]",
                "chosen": [{"role": "assistant", "content": "b"}],
            }),
            json!({"messages": "plain", "text": "x", "chosen": "y"}),
        ]
    );
    let found: Vec<(u64, Code)> = seen.bad.iter().map(|(number, _, code, _)| (*number, *code)).collect();
    assert_eq!(found, [(2, Code::NotJson), (3, Code::NotJson)]);
    assert!(seen.bad[0].3.starts_with("has `messages` as Python prints lists"), "{}", seen.bad[0].3);
    assert!(seen.bad[1].3.starts_with("has a cell `messages` that is not valid JSON"), "{}", seen.bad[1].3);
}

#[test]
fn cells_that_are_no_text_are_bad_rows() {
    let seen = read("a.csv", b"a,b\n1,2\n\x93x\x94,3\n4,5\n");
    assert_eq!(seen.rows.len(), 2);
    assert_eq!(
        seen.bad[0],
        (
            2,
            Some(3),
            Code::NotUtf8,
            "has a cell `a` that is not UTF-8 at byte 1 (0x93, in Windows-1252 `“`)".to_owned()
        )
    );
}

#[test]
fn a_row_without_an_end_is_left_out_in_bounded_memory() {
    let text = format!("a,b\n1,2\n\"{}\",3\n4,5\n", "x,\n".repeat(24 << 20));
    let seen = read("a.csv", text.as_bytes());
    assert_eq!(seen.rows, [json!({"a": "1", "b": "2"}), json!({"a": "4", "b": "5"})]);
    assert_eq!((seen.bad[0].0, seen.bad[0].1, seen.bad[0].2), (2, Some(3), Code::TooLarge));
}
