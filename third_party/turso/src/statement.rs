//! CubeCL's statements (cubecl-environment 0.11.3, persistence/turso.rs), told apart by how they begin and end.

use crate::log::{Entry, Log, META, Write};
use crate::values::{Row, Rows, Value};
use crate::Error;

/// Reads.
pub fn query(log: &mut Log, sql: &str, params: &[Value]) -> Result<Rows, Error> {
    log.catch_up()?;
    let sql = words(sql);
    let read = |log: &mut Log, namespace: &str, key: &[u8]| log.read(namespace, key);
    match sql.as_str() {
        "SELECT v FROM meta WHERE k = ?1" => {
            let found = read(log, META, text(params, 0)?.as_bytes())?;
            let row = |entry: Entry| Row::of([Value::Text(String::from_utf8_lossy(&entry.value).into_owned())]);
            Ok(Rows::of(found.map(row)))
        }
        "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2" => {
            let found = read(log, text(params, 0)?, blob(params, 1)?)?;
            Ok(Rows::of(found.map(|entry| Row::of([Value::Blob(entry.value)]))))
        }
        "SELECT key, value, origin FROM entries WHERE namespace = ?1"
        | "SELECT key, value FROM entries WHERE namespace = ?1" => {
            let mut rows = Vec::new();
            for (key, entry) in log.scan(text(params, 0)?)? {
                rows.push(Row::of([Value::Blob(key), Value::Blob(entry.value), Value::Integer(entry.origin.into())]));
            }
            Ok(Rows::of(rows))
        }
        "SELECT DISTINCT namespace FROM entries ORDER BY namespace" => {
            let names = log.summary().into_iter().map(|(name, _, _)| Row::of([Value::Text(name)]));
            Ok(Rows::of(names.collect::<Vec<_>>()))
        }
        sql if sql.starts_with("SELECT namespace, COUNT(*)") => {
            let number = |n: u64| Value::Integer(n.try_into().unwrap_or(i64::MAX));
            let rows = log.summary().into_iter().map(|(name, n, bytes)| {
                Row::of([Value::Text(name), number(n), number(bytes)])
            });
            Ok(Rows::of(rows.collect::<Vec<_>>()))
        }
        _ => Err(unknown(&sql)),
    }
}

/// Writes.
pub fn execute(log: &mut Log, sql: &str, params: Vec<Value>) -> Result<u64, Error> {
    let sql = words(sql);
    if sql.starts_with("CREATE TABLE IF NOT EXISTS") {
        return Ok(0);
    }
    if sql.starts_with("DROP TABLE IF EXISTS entries") {
        return log.write(Write::Clear);
    }
    if sql.starts_with("INSERT INTO meta") {
        let (key, value) = (text(&params, 0)?.as_bytes().to_vec(), text(&params, 1)?.as_bytes().to_vec());
        return log.write(Write::Put { namespace: META.to_owned(), key, entry: Entry { value, origin: 0 } });
    }
    if sql.starts_with("INSERT INTO entries") {
        let origin = match params.get(3) {
            Some(Value::Integer(origin)) => u8::from(*origin != 0),
            Some(Value::Text(_) | Value::Blob(_)) | None => return Err(unknown(&sql)),
        };
        let (namespace, key) = (text(&params, 0)?.to_owned(), blob(&params, 1)?.to_vec());
        let entry = Entry { value: blob(&params, 2)?.to_vec(), origin };
        return log.write(if sql.ends_with("WHERE entries.origin = 1 AND excluded.origin = 0") {
            Write::PutNew { namespace, key, entry }
        } else {
            Write::Put { namespace, key, entry }
        });
    }
    match sql.as_str() {
        "DELETE FROM entries WHERE namespace = ?1" => log.write(Write::Purge { namespace: text(&params, 0)?.to_owned() }),
        "DELETE FROM entries WHERE namespace = ?1 AND key = ?2" => {
            log.write(Write::Remove { namespace: text(&params, 0)?.to_owned(), key: blob(&params, 1)?.to_vec() })
        }
        _ => Err(unknown(&sql)),
    }
}

fn words(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown(sql: &str) -> Error {
    Error::Error(format!("the stand-in for Turso does not know `{sql}`"))
}

fn text(params: &[Value], index: usize) -> Result<&str, Error> {
    match params.get(index) {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Integer(_) | Value::Blob(_)) | None => Err(Error::Error(format!("value {index} is no text"))),
    }
}

fn blob(params: &[Value], index: usize) -> Result<&[u8], Error> {
    match params.get(index) {
        Some(Value::Blob(bytes)) => Ok(bytes),
        Some(Value::Integer(_) | Value::Text(_)) | None => Err(Error::Error(format!("value {index} is no bytes"))),
    }
}
