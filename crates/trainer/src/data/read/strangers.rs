//! What is often found under the name of a dataset and is none, told by its first bytes.

use std::path::Path;

use ftl_core::dataset::Code;

use super::Refusal;

/// First bytes, what such a file is, what to do.
const MAGIC: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "a zip archive, as .xlsx, .docx, .npz and models of PyTorch are too", UNPACK),
    (b"PK\x05\x06", "an empty zip archive", UNPACK),
    (b"PAR1", "a Parquet file that is compressed as a whole", UNPACK),
    (b"PARE", "an encrypted Parquet file", CONVERT),
    (b"BZh", "compressed with bzip2", UNPACK),
    (b"\xFD7zXZ\0", "compressed with xz", UNPACK),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive", UNPACK),
    (b"Rar!\x1A\x07", "a RAR archive", UNPACK),
    (b"\x04\x22\x4D\x18", "compressed with lz4", UNPACK),
    (b"ARROW1\0\0", "an Arrow (Feather) file", TO_PARQUET),
    (b"FEA1", "a Feather file", TO_PARQUET),
    (b"ORC", "an ORC file", TO_PARQUET),
    (b"Obj\x01", "an Avro file", CONVERT),
    (b"\xFF\xFF\xFF\xFF", "an Arrow stream, as `save_to_disk` writes", TO_PARQUET),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
    (b"\x89HDF\r\n", "an HDF5 file", CONVERT),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"GGUF", "a model (GGUF), not a dataset", NAME_DATA),
    (b"%PDF-", "a PDF document", "extract its text first"),
    (b"{\\rtf", "a document in RTF", "save it as plain text"),
    (b"\xD0\xCF\x11\xE0", "a document of an old Office", "export it as CSV or text"),
    (b"\x89PNG", "an image", NAME_DATA),
    (b"\xFF\xD8\xFF", "an image", NAME_DATA),
    (b"GIF8", "an image", NAME_DATA),
    (b"RIFF", "sound, a film or an image", NAME_DATA),
    (b"\x7FELF", "a program", NAME_DATA),
];

const UNPACK: &str = "unpack it first; gzip and zstd are read as they are";
const TO_PARQUET: &str = "save it as Parquet (`to_parquet`) or JSON Lines (`to_json`)";
const CONVERT: &str = "convert it to JSON Lines";
const NAME_DATA: &str = "name a file with rows: JSON Lines, a JSON array, CSV, Parquet or plain text";

/// Refuses files that are not text.
pub(super) fn refuse_bytes(path: &Path, head: &[u8]) -> Result<(), Refusal> {
    if let Some((_, what, hint)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Err(stranger(path, what, hint));
    }
    // A pickle of protocol 2 to 5, which ends in a full stop, but for that nothing is sure.
    if let [0x80, 2..=5, ..] = head {
        return Err(stranger(path, "a Python pickle, which could run programs when it is read", CONVERT));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Err(stranger(path, "a tar archive", UNPACK));
    }
    if head.starts_with(&[0xFF, 0xFE, 0, 0]) || head.starts_with(&[0, 0, 0xFE, 0xFF]) {
        return Err(stranger(path, "text in UTF-32", "save it as UTF-8"));
    }
    // A length in 8 bytes, then a JSON object that says where tensors are.
    if let Some((length, [b'{', b'"', ..])) = head.split_first_chunk::<8>()
        && u64::from_le_bytes(*length) < 100 << 20
    {
        return Err(stranger(path, "a file of tensors (safetensors), not a dataset", NAME_DATA));
    }
    Ok(())
}

/// Refuses text that is no data, whatever its name. `head` is UTF-8, or was meant to be.
pub(super) fn refuse_text(path: &Path, head: &[u8]) -> Result<(), Refusal> {
    let text = head.trim_ascii_start();
    let start = text[..text.len().min(256)].to_ascii_lowercase();
    let begins = |words: &[&[u8]]| words.iter().any(|word| start.starts_with(word));
    if begins(&[b"version https://git-lfs"]) {
        let refusal = Refusal::new(Code::NotData, path, "is a git-lfs pointer, not the data itself");
        return Err(refusal.hint("fetch it with `git lfs pull`"));
    }
    if begins(&[b"<!doctype html", b"<html", b"<head", b"<body"]) {
        let what = "is a web page, not data: a download may have failed";
        return Err(Refusal::new(Code::NotData, path, what).hint("download it again"));
    }
    Ok(())
}

/// Refuses text that is neither JSON nor a table nor, by its name, plain text.
pub(super) fn unknown(path: &Path, head: &[u8]) -> Refusal {
    if let Some(at) = memchr::memchr(0, head) {
        let what = format!("is not text: byte {} is zero", at + 1);
        return Refusal::new(Code::NotData, path, what).hint(NAME_DATA);
    }
    let text = String::from_utf8_lossy(head.trim_ascii_start());
    let first_line = text.lines().next().unwrap_or_default();
    if ["<?xml", "<!DOCTYPE", "<error>", "<Error>"].iter().any(|start| first_line.starts_with(start)) {
        return stranger(path, "XML", CONVERT);
    }
    let upper = first_line.to_ascii_uppercase();
    let sql = [
        "-- MYSQL",
        "-- POSTGRESQL",
        "CREATE TABLE",
        "INSERT INTO",
        "BEGIN TRANSACTION",
        "PRAGMA ",
        "DROP TABLE",
    ];
    if sql.iter().any(|word| upper.starts_with(word)) || text.contains("\nINSERT INTO ") {
        return stranger(path, "a dump of an SQL database", "export the table as CSV or JSON");
    }
    let is_key = |line: &str| {
        let key = line
            .trim_start_matches("- ")
            .split_once(':')
            .map(|(key, rest)| (key, rest.is_empty() || rest.starts_with(' ')));
        key.is_some_and(|(key, is_separated)| {
            is_separated
                && !key.is_empty()
                && key.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
        })
    };
    if first_line.trim_end() == "---"
        || first_line.starts_with("%YAML")
        || first_line.starts_with("- ") && is_key(first_line)
        || is_key(first_line)
    {
        return stranger(path, "YAML", CONVERT);
    }
    let shown: String = first_line.chars().take(20).collect();
    let what = format!("is neither JSON Lines nor a JSON array; it begins with `{shown}`");
    Refusal::new(Code::NotData, path, what).hint(
        "one JSON object per line, one JSON array of objects, a table whose first line names its columns (.csv, .tsv), \
         Parquet, or plain text in a .txt file",
    )
}

/// Refuses what Python prints of its lists and objects.
pub(super) fn python(path: &Path) -> Refusal {
    stranger(path, "written as Python prints objects, with single quotes", "write it with `json.dumps`")
}

fn stranger(path: &Path, what: &str, hint: &str) -> Refusal {
    Refusal::new(Code::NotData, path, format!("is {what}")).hint(hint)
}
