//! Moments: core counts milliseconds since 1970-01-01 UTC, messages seconds and nanoseconds.

use prost_types::Timestamp;

use super::WireError;

/// The last second that a timestamp can have: 9999-12-31T23:59:59Z (google/protobuf/timestamp.proto).
const LAST_SECOND: i64 = 253_402_300_799;

/// A moment as messages have it. One after the year 9999 is written as it is, and every reader refuses it.
pub fn timestamp(unix_ms: u64) -> Timestamp {
    let seconds = i64::try_from(unix_ms / 1_000).expect("a thousandth of 2^64 is less than 2^63");
    let nanos = i32::try_from(unix_ms % 1_000).expect("it is less than 1,000") * 1_000_000;
    Timestamp { seconds, nanos }
}

/// The moment of a field that must be there; parts of a millisecond are cut off.
///
/// # Errors
/// [`WireError`] if it is not, or is before 1970 or after 9999, or its nanoseconds are no part of a second.
pub fn unix_ms(message: &'static str, field: &str, time: Option<Timestamp>) -> Result<u64, WireError> {
    optional_unix_ms(message, field, time)?.ok_or_else(|| WireError::missing(message, field))
}

/// The moment of a field that may be absent, as [`unix_ms`].
///
/// # Errors
/// As [`unix_ms`].
pub fn optional_unix_ms(
    message: &'static str,
    field: &str,
    time: Option<Timestamp>,
) -> Result<Option<u64>, WireError> {
    let Some(Timestamp { seconds, nanos }) = time else { return Ok(None) };
    let refused = |what: String| Err(WireError::new(message, field, what));
    if seconds > LAST_SECOND {
        return refused(format!("{seconds} seconds after 1970 are after the year 9999"));
    }
    let Ok(whole) = u64::try_from(seconds) else {
        return refused(format!(
            "{} seconds before 1970 are too early, 1970 is the first year",
            seconds.unsigned_abs()
        ));
    };
    match u64::try_from(nanos) {
        Ok(nanos @ 0..1_000_000_000) => Ok(Some(whole * 1_000 + nanos / 1_000_000)),
        Ok(_) | Err(_) => refused(format!("{nanos} is no number of nanoseconds, expected 0 to 999999999")),
    }
}
