//! Figures as people read them: sizes, ages, durations, losses; and text of others without its control characters.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MILLIS_PER_SEC: u64 = 1_000;
const SECS_PER_MIN: u64 = 60;
const SECS_PER_HOUR: u64 = 60 * SECS_PER_MIN;
const SECS_PER_DAY: u64 = 24 * SECS_PER_HOUR;

/// Milliseconds since 1970-01-01 UTC.
pub fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A size: `87 B`, `4.2 KiB`, `312.0 MiB`, `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Not 1024: what rounds up to it would read `1024.0 MiB`.
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A number with its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long ago something was: `just now`, `3 min ago`, `2 h ago`, `5 d ago`.
pub fn age(then_unix_ms: u64, now_unix_ms: u64) -> String {
    let secs = now_unix_ms.saturating_sub(then_unix_ms) / MILLIS_PER_SEC;
    match secs {
        0..5 => "just now".to_owned(),
        5..SECS_PER_MIN => format!("{secs} s ago"),
        SECS_PER_MIN..SECS_PER_HOUR => format!("{} min ago", secs / SECS_PER_MIN),
        SECS_PER_HOUR..SECS_PER_DAY => format!("{} h ago", secs / SECS_PER_HOUR),
        SECS_PER_DAY.. => format!("{} d ago", secs / SECS_PER_DAY),
    }
}

/// A stretch of time in its two largest units: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`, `2 d 03 h`.
pub fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..2 => format!("{:.1} s", duration.as_secs_f64()),
        2..SECS_PER_MIN => format!("{secs} s"),
        SECS_PER_MIN..SECS_PER_HOUR => format!("{} min {:02} s", secs / SECS_PER_MIN, secs % SECS_PER_MIN),
        SECS_PER_HOUR..SECS_PER_DAY => {
            format!("{} h {:02} min", secs / SECS_PER_HOUR, secs % SECS_PER_HOUR / SECS_PER_MIN)
        }
        SECS_PER_DAY.. => format!("{} d {:02} h", secs / SECS_PER_DAY, secs % SECS_PER_DAY / SECS_PER_HOUR),
    }
}

/// A loss in nats: `1.2345`, `NaN` where the run diverged.
pub fn loss(nats: f64) -> String {
    format!("{nats:.4}")
}

/// A learning rate: `2.00e-4`.
pub fn learning_rate(rate: f64) -> String {
    format!("{rate:.2e}")
}

/// Text of others on one line, without the characters that could move the cursor or change colours.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
