use ftl_core::dataset::Code;
use serde_json::json;

use super::{gzip, read, refused, zstd};

fn lines() -> String {
    (0..60_000)
        .map(|n| json!({"n": n, "text": format!("{:x}", n * 7919 % 65_537)}).to_string() + "\n")
        .collect()
}

#[test]
fn compressed_files_that_are_cut_off_give_what_is_there_and_say_so() {
    let text = lines();
    for (name, packed, expected) in [
        ("a.jsonl.gz", gzip(text.as_bytes()), "`a.jsonl.gz` is cut off: its gzip stream ends in the middle"),
        (
            "a.jsonl.zst",
            zstd(text.as_bytes()),
            "`a.jsonl.zst` is cut off: its zstd stream ends in the middle",
        ),
    ] {
        let whole = read(name, &packed);
        assert!(whole.refusal.is_none());
        assert_eq!(whole.rows.len(), 60_000);
        let torn = read(name, &packed[..packed.len() * 9 / 10]);
        let refusal = torn.refusal.expect("a refusal");
        assert_eq!((refusal.code, refusal.problem.message.as_str()), (Code::UnreadableFile, expected));
        assert!(torn.rows.len() < 60_000 && torn.rows == whole.rows[..torn.rows.len()]);
        assert_eq!(refused(name, &packed[..20]).0, Code::UnreadableFile);
    }
}

#[test]
fn compressed_files_that_are_damaged_say_so() {
    let text = lines();
    for (name, packed, expected) in [
        ("a.jsonl.gz", gzip(text.as_bytes()), "is damaged: its gzip stream has"),
        ("a.jsonl.zst", zstd(text.as_bytes()), "is damaged: zstd says"),
    ] {
        let mut bytes = packed.clone();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xAA);
        let (code, message) = refused(name, &bytes);
        assert_eq!(code, Code::UnreadableFile);
        assert!(message.contains(expected), "{message}");
    }
    let (_, message) = refused("a.jsonl.gz", &[gzip(b"{\"a\": 1}\n{\"a\": 2}\n"), b"junk".to_vec()].concat());
    assert_eq!(message, "`a.jsonl.gz` is damaged: after its gzip stream comes something else");
}

#[test]
fn a_bomb_of_gzip_takes_no_memory() {
    // Many lines, and one.
    assert_eq!(refused("a.jsonl", &gzip(&vec![b'\n'; 20 << 20])).0, Code::EmptyFile);
    let line = gzip(&[b"{\"a\": \"".to_vec(), vec![b'x'; 80 << 20]].concat());
    let seen = read("a.jsonl", &line);
    assert_eq!((seen.rows.len(), seen.bad.len(), seen.bad[0].2), (0, 1, Code::TooLarge));
}

#[test]
fn text_that_is_not_utf8_says_in_which_line() {
    let (code, message) = refused("a.txt", b"a\nb \xE9");
    assert_eq!(code, Code::NotUtf8);
    assert_eq!(message, "`a.txt` is not UTF-8 at byte 3 (0xE9) of line 2");
}
