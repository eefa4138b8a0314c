use ftl_core::dataset::Code;

use super::{gzip, refused, utf16, zstd};

#[test]
fn strangers_are_refused_by_name() {
    let mut tar = vec![b'a'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let safetensors = [&[8, 0, 0, 0, 0, 0, 0, 0][..], b"{\"a\":{}}"].concat();
    let utf32: Vec<u8> = "\u{feff}{}".chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect();
    let cases: Vec<(&[u8], &str)> = vec![
        (b"<!DOCTYPE html><html>", "is a web page, not data: a download may have failed"),
        (b"\n <html><head>", "is a web page, not data: a download may have failed"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "is a git-lfs pointer, not the data itself",
        ),
        (b"PK\x03\x04rest", "is a zip archive, as .xlsx, .docx, .npz and models of PyTorch are too"),
        (&tar, "is a tar archive"),
        (b"BZh91AY", "is compressed with bzip2"),
        (b"\xFD7zXZ\0\0", "is compressed with xz"),
        (b"ARROW1\0\0rest", "is an Arrow (Feather) file"),
        (b"\xFF\xFF\xFF\xFF\x10\0\0\0", "is an Arrow stream, as `save_to_disk` writes"),
        (b"\x80\x04\x95\x10", "is a Python pickle, which could run programs when it is read"),
        (b"\x93NUMPY\x01\0", "is a NumPy array"),
        (&safetensors, "is a file of tensors (safetensors), not a dataset"),
        (b"GGUF\x03\0\0\0", "is a model (GGUF), not a dataset"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"\x89PNG\r\n\x1A\n", "is an image"),
        (b"\xFF\xD8\xFF\xE0", "is an image"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (&utf32, "is text in UTF-32"),
        (b"abc\0\0\0\x01def", "is not text: byte 4 is zero"),
        (b"<?xml version=\"1.0\"?><rows/>", "is XML"),
        (b"- prompt: a\n  completion: b\n", "is YAML"),
        (b"---\nprompt: a\n", "is YAML"),
        (b"prompt: a\ncompletion: b\n", "is YAML"),
        (b"[{'role': 'user', 'content': 'a'}]", "is written as Python prints objects, with single quotes"),
        (b"{'text': 'a'}\n{'text': 'b'}\n", "is written as Python prints objects, with single quotes"),
        (b"-- MySQL dump 10.13\n", "is a dump of an SQL database"),
        (b"CREATE TABLE rows (a TEXT);\nINSERT INTO rows VALUES (1);\n", "is a dump of an SQL database"),
        (b"hello", "is neither JSON Lines nor a JSON array; it begins with `hello`"),
    ];
    for (bytes, expected) in cases {
        for name in ["a.jsonl", "a.json"] {
            assert_eq!(refused(name, bytes), (Code::NotData, format!("`{name}` {expected}")));
        }
    }
    assert_eq!(refused("a.jsonl.gz", &gzip(&tar)).1, "`a.jsonl.gz` is a tar archive");
    assert_eq!(refused("a.jsonl.zst", &zstd(&gzip(b"{}"))).1, "`a.jsonl.zst` is compressed twice");
    let csv = "prompt,completion\n";
    assert_eq!(refused("a.csv", &utf16(csv, u16::to_le_bytes)).1, "`a.csv` has no rows, only a header");
}

#[test]
fn files_without_rows_are_empty() {
    for (name, bytes) in [
        ("a.jsonl", &b""[..]),
        ("a.jsonl", b"\xEF\xBB\xBF"),
        ("a.jsonl", b"\n \r\n"),
        ("a.json", b"[]"),
        ("a.json", b" [ \n ] \n"),
        ("a.txt", b" \n"),
        ("a.csv", b""),
        ("a.jsonl", b"\xFF\xFE"),
    ] {
        assert_eq!(refused(name, bytes), (Code::EmptyFile, format!("`{name}` is empty")), "{bytes:?}");
    }
    let blank = "\n".repeat(3 << 20);
    assert_eq!(refused("a.jsonl", blank.as_bytes()).0, Code::EmptyFile);
    assert_eq!(refused("a.jsonl", &gzip(b"")).0, Code::EmptyFile);
}

#[test]
fn arrays_that_are_not_say_where() {
    for (text, expected) in [
        ("[{\"a\": 1}\n{\"a\": 2}]", "has no comma between two rows of its array, after row 1 in line 2"),
        ("[\n{\"a\": 1}\n{\"a\": 2}\n]", "has no comma between two rows of its array, after row 1 in line 3"),
        ("[{\"a\": 1},,{\"a\": 2}]", "has a comma too many, after row 1 in line 1"),
        ("[{\"a\": 1},\n{\"a\": 2}", "is cut off: its array does not end, after row 2 in line 2"),
        ("[{\"a\": 1}]\n[{\"a\": 2}]\n[{\"a\"", "goes on after the end of its array, after row 1 in line 1"),
    ] {
        let found = super::open("a.json", text.as_bytes()).map(|opened| super::see(opened).refusal);
        if text.starts_with("[{\"a\": 1}]\n[") {
            // Each line is an array: JSON Lines, of which the last is cut off.
            assert_eq!(found.expect("opens"), None);
            continue;
        }
        let refusal = found.expect("opens").expect("a refusal");
        assert_eq!(
            (refusal.code, refusal.problem.message),
            (Code::NotJson, format!("`a.json` {expected}")),
            "{text}"
        );
    }
}
