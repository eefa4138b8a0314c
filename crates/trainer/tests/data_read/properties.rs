//! Whatever the rows: written in any way they read back equal, and no bytes at all make a panic.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{good, gzip, open, see, utf16, zstd};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        any::<String>(),
        Just("\"quoted\", [brackets] {braces}\\ \r\n\t\u{2028}\u{feff}".to_owned()),
        Just("x".repeat(70_000)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        8 => text().prop_map(Value::String),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[a-z]{1,8}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Rows with a key that no rule of recognition knows.
fn rows() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(value(), 1..8).prop_map(|values| {
        let row = |value: Value| {
            Value::Object(Map::from_iter([("w".to_owned(), value), ("z".to_owned(), Value::from(1))]))
        };
        values.into_iter().map(row).collect()
    })
}

/// How rows are written, and what is around them.
#[derive(Clone, Copy, Debug)]
enum Form {
    Lines,
    Array,
    PrettyArray,
    Wrapped,
    Concatenated,
}

fn written(rows: &[Value], form: Form, line_end: &str) -> String {
    let pretty = |row: &Value| serde_json::to_string_pretty(row).expect("JSON").replace('\n', line_end);
    let lines = || rows.iter().map(|row| format!("{row}{line_end}")).collect::<String>();
    match form {
        Form::Lines => lines(),
        Form::Array => serde_json::to_string(rows).expect("JSON"),
        Form::PrettyArray => serde_json::to_string_pretty(rows).expect("JSON").replace('\n', line_end),
        Form::Wrapped => format!(
            "{{\"n\": 1,{line_end}\"data\": [{}]}}",
            lines().trim_end().replace(&format!("}}{line_end}{{"), "},{")
        ),
        Form::Concatenated => rows.iter().map(pretty).collect::<Vec<_>>().join(line_end),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn rows_written_in_any_way_read_back_equal(
        rows in rows(),
        form in prop::sample::select(vec![Form::Lines, Form::Array, Form::PrettyArray, Form::Wrapped, Form::Concatenated]),
        line_end in prop::sample::select(vec!["\n", "\r\n"]),
        encoding in 0..4,
        packing in 0..3,
    ) {
        // A raw line break within a text would be replaced too.
        let rows: Vec<Value> = serde_json::from_str(&serde_json::to_string(&rows).expect("JSON")).expect("JSON");
        let text = written(&rows, form, line_end);
        let bytes = match encoding {
            0 => text.into_bytes(),
            1 => format!("\u{feff}{text}").into_bytes(),
            2 => utf16(&format!("\u{feff}{text}"), u16::to_le_bytes),
            _ => utf16(&format!("\u{feff}{text}"), u16::to_be_bytes),
        };
        let bytes = match packing {
            0 => bytes,
            1 => gzip(&bytes),
            _ => zstd(&bytes),
        };
        prop_assert_eq!(good("a.json", &bytes).1, rows);
    }

    #[test]
    fn tables_written_in_any_way_read_back_equal(
        cells in prop::collection::vec(prop::collection::vec(text(), 3), 1..8),
        separator in prop::sample::select(vec![",", "\t", ";"]),
        line_end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let mut table = ["w", "x", "z"].join(separator) + line_end;
        for row in &cells {
            let quoted: Vec<String> = row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            write!(table, "{}{line_end}", quoted.join(separator)).expect("in memory");
        }
        let expected: Vec<Value> = cells
            .iter()
            .map(|row| ["w", "x", "z"].into_iter().map(str::to_owned).zip(row.iter().cloned().map(Value::String)).collect())
            .collect();
        prop_assert_eq!(good("a.csv", table.as_bytes()).1, expected);
    }

    #[test]
    fn bytes_of_any_kind_do_not_panic(
        start in prop::sample::select(vec!["", "{", "[", "[{\"a\": 1}", "{\"data\": [", "{\"a\": 1}\n", "a,b\n\"", "PAR1", "\u{feff}", "\"", "[[{\"role\":"]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        name in prop::sample::select(vec!["a.jsonl", "a.csv", "a.txt", "a.parquet", "a"]),
    ) {
        let bytes = [start.as_bytes(), &bytes].concat();
        if let Ok(opened) = open(name, &bytes) {
            let seen = see(opened);
            prop_assert!(seen.rows.len() + seen.bad.len() <= bytes.len());
        }
    }
}
