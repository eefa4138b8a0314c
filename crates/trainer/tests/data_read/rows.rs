use ftl_core::dataset::Code;
use ftl_trainer::data::read::Rows;
use serde_json::json;

use super::{read, utf16};

#[test]
fn bad_lines_are_named_and_the_next_is_good() {
    let text = b"{\"a\": 1}\n{\"a\": \"x\ny\"}\n\n{\"a\": 2}\n{\"a\": \"\xFF\"}\n{\"a\": \"\\ud83d\"}\n{\"a\": NaN}\n{\"a\": 3}";
    let seen = read("a.jsonl", text);
    assert_eq!(seen.rows, [json!({"a": 1}), json!({"a": 2}), json!({"a": 3})]);
    let found: Vec<(u64, Option<u64>, Code)> =
        seen.bad.iter().map(|(number, line, code, _)| (*number, *line, *code)).collect();
    assert_eq!(
        found,
        [
            (2, None, Code::NotJson),
            (3, None, Code::NotJson),
            (6, None, Code::NotUtf8),
            (7, None, Code::LoneSurrogate),
            (8, None, Code::NotJson),
        ]
    );
    assert!(seen.bad[0].3.contains("a line break that should be `\\n`"), "{}", seen.bad[0].3);
    assert!(seen.bad[1].3.contains("as if it were the rest of the row before"), "{}", seen.bad[1].3);
}

#[test]
fn bad_first_lines_do_not_hide_that_others_are_rows() {
    for first in [
        "{\"messages\": [{\"role\": \"us",
        "{\"a\": 1,}",
        "oops",
        "{'a': 1}",
        "[{\"role\": ",
        "// rows",
        "null",
        "{\"a\": NaN}",
    ] {
        let text = format!("{first}\n{{\"a\": 1}}\n{{\"a\": 2}}\n");
        let seen = read("a.jsonl", text.as_bytes());
        assert_eq!(seen.rows.iter().filter(|row| row.is_object()).count(), 2, "{first}");
        assert_eq!(seen.rows.len() + seen.bad.len(), 3, "{first}");
    }
}

#[test]
fn bad_elements_of_an_array_are_bad_rows_with_their_line() {
    let text = "[\n  {\"a\": 1},\n  {\"a\": NaN},\n  {\n    \"a\": 'x'\n  },\n  oops,\n  {\"a\": 2}\n]\n";
    let seen = read("a.json", text.as_bytes());
    assert!(seen.refusal.is_none());
    assert_eq!(seen.rows, [json!({"a": 1}), json!({"a": 2})]);
    assert_eq!(seen.lines, [Some(2), Some(8)]);
    let found: Vec<(u64, Option<u64>, &str)> =
        seen.bad.iter().map(|(number, line, _, what)| (*number, *line, what.as_str())).collect();
    assert_eq!(
        found,
        [
            (
                2,
                Some(3),
                "is not valid JSON: `NaN` is no number in JSON; write null, or leave the key out, in line 3 at column 7"
            ),
            (
                3,
                Some(4),
                "is not valid JSON: single quotes, where JSON has double quotes, in line 5 at column 10"
            ),
            (
                4,
                Some(7),
                "is not valid JSON: it begins with `oops`, as if it were the rest of the row before, in line 7 at column 1"
            ),
        ]
    );
}

#[test]
fn of_a_key_that_is_there_twice_the_last_value_counts() {
    assert_eq!(read("a.jsonl", b"{\"a\": 1, \"a\": 2}\n{\"a\": 3}\n").rows[0], json!({"a": 2}));
}

#[test]
fn rows_that_are_too_large_are_left_out_and_the_file_goes_on() {
    let large = "x".repeat((64 << 20) + (1 << 20));
    let many = format!("[{}1]", "{},".repeat(1_000_000));
    let lines = format!("{{\"a\": 1}}\n{{\"a\": \"{large}\"}}\n{many}\n{{\"a\": 2}}\n");
    let array = format!("[{{\"a\": 1}},\n{{\"a\": \"{large}\"}},\n{many},\n{{\"a\": 2}}]");
    for (text, lines) in [(lines, [None; 2]), (array, [Some(2), Some(3)])] {
        let seen = read("a.json", text.as_bytes());
        assert_eq!(seen.rows, [json!({"a": 1}), json!({"a": 2})]);
        let found: Vec<(u64, Option<u64>, Code)> =
            seen.bad.iter().map(|(number, line, code, _)| (*number, *line, *code)).collect();
        assert_eq!(found, [(2, lines[0], Code::TooLarge), (3, lines[1], Code::TooLarge)]);
        assert_eq!(seen.bad[0].3, "is larger than 64 MiB; split it into several rows");
    }
}

#[test]
fn nesting_ends_before_the_stack_does() {
    for text in [
        "[".repeat(1_000_000),
        "{\"a\":".repeat(500_000),
        format!("{}{}", "[".repeat(5000), "]".repeat(5000)),
    ] {
        let lines = format!("{{\"a\": 1}}\n{text}\n{{\"a\": 2}}\n");
        let seen = read("a.jsonl", lines.as_bytes());
        assert_eq!(seen.rows.len(), 2);
        assert_eq!((seen.bad[0].0, seen.bad[0].2), (2, Code::TooDeep));
        // Whatever it is as a whole file, it ends.
        let _ = read("a.jsonl", text.as_bytes());
    }
}

#[test]
fn half_a_surrogate_pair_in_utf16_is_a_bad_row() {
    let mut bytes = utf16("\u{feff}{\"a\": \"x\"}\n{\"a\": \"", u16::to_le_bytes);
    bytes.extend(0xD83Du16.to_le_bytes());
    bytes.extend(utf16("\"}\n{\"a\": \"y\"}\n", u16::to_le_bytes));
    let seen = read("a.jsonl", &bytes);
    assert_eq!(seen.rows, [json!({"a": "x"}), json!({"a": "y"})]);
    assert_eq!((seen.bad[0].0, seen.bad[0].2), (2, Code::LoneSurrogate));
}

#[test]
fn rows_are_given_one_by_one_from_any_of_them_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let n_rows = 40_000u64;
    let lines: String =
        (1..=n_rows).map(|n| format!("{{\"a\": {n}, \"text\": \"{}\"}}\n", "x".repeat(40))).collect();
    let array = format!("[{}]", lines.trim_end().replace('\n', ",\n"));
    for (name, text) in [("a.jsonl", &lines), ("a.json", &array)] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        for after in [0, 1, 20_000, 39_999, 40_000, 50_000] {
            let mut rows = Rows::open(&path).expect("opens");
            rows.skip_to(after).expect("skips");
            let next = rows.next().map(|row| row.expect("good").value["a"].as_u64());
            assert_eq!(next, (after < n_rows).then_some(Some(after + 1)), "{name} after {after}");
            if after < n_rows {
                assert_eq!(rows.number(), after + 1);
            }
        }
    }
    let path = dir.path().join("bad.jsonl");
    std::fs::write(&path, "{\"a\": 1}\n  oops \n").expect("written");
    let mut rows = Rows::open(&path).expect("opens");
    assert!(rows.next().expect("a row").is_ok());
    assert_eq!(rows.line(), None);
    let problem = rows.next().expect("a row").expect_err("bad");
    assert!(
        problem.message.starts_with("row 2 of `bad.jsonl` is not valid JSON: it begins with `oops`"),
        "{problem}"
    );
    assert_eq!((rows.number(), rows.line()), (2, Some(&b"oops"[..])));
    assert!(rows.next().is_none());
}

#[test]
fn what_is_beside_the_rows_is_named() {
    let unread = |key: &str| {
        format!("`a.json` has rows under `{key}` too, which are not read; save them as a file of their own")
    };
    for (text, notes) in [
        (
            "{\"total\": 2, \"rows\": [{\"a\": 1}, {\"a\": 2}], \"next\": {\"rows\": [1]}}",
            vec!["the rows of `a.json` are those of its key `rows`".to_owned()],
        ),
        (
            "{\"test\": [{\"a\": 0}], \"train\": [{\"a\": 1}, {\"a\": 2}], \"dev\": [{\"a\": 3}]}\n",
            vec![
                "the rows of `a.json` are those of its key `train`".to_owned(),
                unread("test"),
                unread("dev"),
            ],
        ),
    ] {
        let seen = read("a.json", text.as_bytes());
        assert_eq!(seen.rows, [json!({"a": 1}), json!({"a": 2})]);
        assert_eq!(seen.notes, notes);
        assert!(seen.refusal.is_none());
        let torn = read("a.json", &text.as_bytes()[..text.trim_end().len() - 1]);
        assert!(
            torn.refusal.expect("a refusal").problem.message.contains("is cut off: its object does not end")
        );
    }
    let seen = read("a.txt", b"{\"a\": 1}\n{\"a\": 2}\n");
    assert_eq!(seen.notes, ["`a.txt` holds JSON, which is read as rows and not as text"]);
}
