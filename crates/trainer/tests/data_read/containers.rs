use ftl_core::dataset::{Compression, Container, Encoding};
use serde_json::{Value, json};

use super::{good, gzip, read, utf16, zstd};

fn two() -> Vec<Value> {
    vec![json!({"text": "One."}), json!({"text": "Twö, \"2\"\n"})]
}

#[test]
fn the_same_rows_are_read_from_every_layout() {
    let [a, b] = [two()[0].to_string(), two()[1].to_string()];
    let [pretty_a, pretty_b] = two().map_pretty();
    for (text, container) in [
        (format!("{a}\n{b}\n"), Container::JsonLines),
        (format!("{a}\r\n\r\n  {b}"), Container::JsonLines),
        (format!("\n\n{a}\n \t\n{b}\n\n"), Container::JsonLines),
        (format!("{pretty_a}\n{pretty_b}\n"), Container::JsonLines),
        (format!("{a}{b}"), Container::JsonLines),
        (format!("[{a}, {b}]"), Container::JsonArray),
        (format!("[\r\n  {pretty_a},\r\n  {pretty_b}\r\n]\r\n"), Container::JsonArray),
        (format!("  [\n{a}\n,\n{b}\n]\n\n"), Container::JsonArray),
        (format!("[{a},{b},]"), Container::JsonArray),
        (format!("{{\"data\": [{a}, {b}]}}"), Container::JsonObject),
        (
            format!("{{\n \"version\": \"1\",\n \"train\": [\n  {pretty_a},\n  {pretty_b}\n ]\n}}\n"),
            Container::JsonObject,
        ),
        (format!("{{\"dialogue_acts\": [{a}, {b}], \"n\": 2}}"), Container::JsonObject),
        (
            format!(
                "{{\"features\": [], \"rows\": [{{\"row_idx\": 0, \"row\": {a}, \"truncated_cells\": []}}, {{\"row_idx\": 1, \"row\": {b}}}], \"n\": 2}}"
            ),
            Container::JsonObject,
        ),
        ("text\nOne.\n\"Twö, \"\"2\"\"\n\"\n".to_owned(), Container::Csv),
    ] {
        let name = if container == Container::Csv { "rows.csv" } else { "rows.jsonl" };
        assert_eq!(good(name, text.as_bytes()), (container, two()), "{text}");
        if container != Container::Csv {
            // With a comma too many it is not JSON beyond doubt, so a name that says text counts.
            let is_json = !text.ends_with(",]");
            for name in ["rows.json", "rows", "rows.txt", "rows.csv"]
                .into_iter()
                .filter(|name| is_json || !name.contains('.'))
            {
                assert_eq!(good(name, text.as_bytes()).1, two(), "{name}: {text}");
            }
        }
    }
}

trait Pretty {
    fn map_pretty(self) -> [String; 2];
}

impl Pretty for Vec<Value> {
    fn map_pretty(self) -> [String; 2] {
        [0, 1].map(|nth: usize| serde_json::to_string_pretty(&self[nth]).expect("JSON"))
    }
}

#[test]
fn compression_and_encoding_are_undone_whatever_the_name() {
    let text = format!("{}\n{}\n", two()[0], two()[1]);
    let marked = format!("\u{feff}{text}");
    let plain = text.as_bytes();
    let half = plain.iter().position(|byte| *byte == b'\n').expect("a line end") - 3;
    for (bytes, compression, encoding) in [
        (marked.clone().into_bytes(), None, Encoding::Utf8Bom),
        (utf16(&marked, u16::to_le_bytes), None, Encoding::Utf16Le),
        (utf16(&marked, u16::to_be_bytes), None, Encoding::Utf16Be),
        (utf16(&text, u16::to_le_bytes), None, Encoding::Utf16Le),
        (utf16(&text, u16::to_be_bytes), None, Encoding::Utf16Be),
        (gzip(plain), Some(Compression::Gzip), Encoding::Utf8),
        (
            [gzip(&plain[..half]), gzip(&plain[half..]), vec![0; 512]].concat(),
            Some(Compression::Gzip),
            Encoding::Utf8,
        ),
        (gzip(&utf16(&marked, u16::to_le_bytes)), Some(Compression::Gzip), Encoding::Utf16Le),
        (zstd(plain), Some(Compression::Zstd), Encoding::Utf8),
        ([zstd(&plain[..half]), zstd(&plain[half..])].concat(), Some(Compression::Zstd), Encoding::Utf8),
        (zstd(marked.as_bytes()), Some(Compression::Zstd), Encoding::Utf8Bom),
    ] {
        let seen = read("rows.jsonl", &bytes);
        assert_eq!(seen.rows, two());
        assert_eq!((seen.layout.compression, seen.layout.encoding), (compression, encoding));
        let is_said = compression.is_some() || matches!(encoding, Encoding::Utf16Le | Encoding::Utf16Be);
        assert_eq!(!seen.notes.is_empty(), is_said, "{:?}", seen.notes);
    }
    assert_eq!(read("rows.jsonl.gz", &gzip(plain)).notes, Vec::<String>::new());
    assert_eq!(
        read("rows.jsonl", &gzip(plain)).notes,
        ["`rows.jsonl` is compressed with gzip, whatever its name says, and was unpacked"]
    );
}

#[test]
fn a_conversation_is_one_row_and_a_list_of_them_many() {
    let turn = |role: &str| json!({"role": role, "content": "x [\"{"});
    let talk = json!([turn("user"), turn("assistant")]);
    let row = json!({"messages": talk, "tools": [{"type": "function"}]});
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
    for (text, container, expected) in [
        (talk.to_string(), Container::JsonLines, vec![talk.clone()]),
        (pretty(&talk), Container::JsonLines, vec![talk.clone()]),
        (format!("{talk}\n{talk}\n"), Container::JsonLines, vec![talk.clone(); 2]),
        (format!("[{talk},\n{talk}]"), Container::JsonArray, vec![talk.clone(); 2]),
        (pretty(&row), Container::JsonLines, vec![row.clone()]),
        (row.to_string(), Container::JsonLines, vec![row.clone()]),
        (format!("{{\"data\": [{talk}, {talk}]}}"), Container::JsonObject, vec![talk.clone(); 2]),
        (format!("{{\"conversations\": [{row}, {row}]}}"), Container::JsonObject, vec![row.clone(); 2]),
    ] {
        assert_eq!(good("a.json", text.as_bytes()), (container, expected), "{text}");
    }
}

#[test]
fn tables_by_columns_become_rows_and_say_so() {
    let text = r#"{"instruction": ["a", "b"], "output": ["c", "d"]}"#;
    let seen = read("a.json", text.as_bytes());
    assert_eq!(
        seen.rows,
        [json!({"instruction": "a", "output": "c"}), json!({"instruction": "b", "output": "d"})]
    );
    assert_eq!(seen.notes, ["`a.json` is a table written by columns, which was read as 2 rows"]);
}

#[test]
fn long_first_lines_do_not_hide_what_a_file_is() {
    let long = "x ".repeat(200_000);
    let row = json!({"text": long});
    let talk = json!([{"role": "user", "content": long}, {"role": "assistant", "content": "y"}]);
    for (value, text, container, n_rows) in [
        (&row, format!("{row}\n{row}\n"), Container::JsonLines, 2),
        (&row, format!("{row}"), Container::JsonLines, 1),
        (&row, format!("[{row},{row},{row}]"), Container::JsonArray, 3),
        (&row, format!("{{\"data\":[{row},{row}]}}"), Container::JsonObject, 2),
        (&talk, format!("{talk}\n{talk}\n"), Container::JsonLines, 2),
        (&talk, format!("[{talk},{talk}]"), Container::JsonArray, 2),
    ] {
        let found = good("a.json", text.as_bytes());
        assert_eq!(found.0, container);
        assert_eq!(found.1.len(), n_rows);
        assert!(found.1.iter().all(|found| found == value));
    }
}

#[test]
fn plain_text_is_one_row_with_unix_lines() {
    for (name, bytes) in [
        ("a.txt", &b"One.\r\nTwo.\r\n"[..]),
        ("a.md", b"\xEF\xBB\xBFOne.\nTwo.\n"),
        ("A.TXT", b"One.\nTwo.\n"),
    ] {
        assert_eq!(good(name, bytes), (Container::Text, vec![json!({"text": "One.\nTwo.\n"})]), "{name}");
    }
    let brackets = "[1] A footnote.\n{braces}\n";
    assert_eq!(good("a.txt", brackets.as_bytes()).1, [json!({"text": brackets})]);
    assert_eq!(good("a.txt.gz", &gzip(b"One.")).1, [json!({"text": "One."})]);
    assert_eq!(good("a.txt", &utf16("\u{feff}Ünï\r\n", u16::to_le_bytes)).1, [json!({"text": "Ünï\n"})]);
}
