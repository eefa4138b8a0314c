//! Numbers, sizes and bars as a person reads them.

use crate::dataset::{Bar, Compression, Container, Encoding, Histogram, Layout};

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 row`, `2 rows`.
pub fn rows(n: u64) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(n)) }
}

/// A share, 0 to 1.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `1.5 MB`, in powers of 1,000 as file managers show them.
pub fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut size = n as f64;
    let mut unit = None;
    for name in units {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = Some(name);
    }
    unit.map_or_else(|| format!("{n} bytes"), |unit| format!("{size:.1} {unit}"))
}

/// What lies in a file and how.
pub fn container(layout: Layout) -> String {
    let Layout { container, compression, encoding } = layout;
    let container = match container {
        Container::JsonLines => "JSON Lines",
        Container::JsonArray => "a JSON array",
        Container::JsonObject => "a JSON array in an object",
        Container::Csv => "CSV",
        Container::Tsv => "TSV",
        Container::Parquet => "Parquet",
        Container::Text => "text",
    };
    let encoding = match encoding {
        Encoding::Utf8 | Encoding::Utf8Bom => "",
        Encoding::Utf16Le | Encoding::Utf16Be => " in UTF-16",
    };
    let compression = match compression {
        None => "",
        Some(Compression::Gzip) => " (gzip)",
        Some(Compression::Zstd) => " (zstd)",
    };
    format!("{container}{encoding}{compression}")
}

/// A line for each size: smallest, median, 90 %, 99 %, largest, all together.
pub fn table(title: &str, sizes: &[(&str, &Histogram)]) -> Vec<String> {
    let line = |cells: [&str; 7]| {
        let [name, min, p50, p90, p99, max, total] = cells;
        format!("{name:<12} {min:>8} {p50:>9} {p90:>9} {p99:>9} {max:>11} {total:>15}")
    };
    let head = line([title, "least", "median", "90 %", "99 %", "most", "together"]);
    let row = |(name, histogram): &(&str, &Histogram)| {
        let Histogram { min, p50, p90, p99, max, total, .. } = histogram;
        let [min, p50, p90, p99, max, total] = [min, p50, p90, p99, max, total].map(|n| grouped(*n));
        line([&format!("  {name}"), &min, &p50, &p90, &p99, &max, &total])
    };
    std::iter::once(head).chain(sizes.iter().map(row)).collect()
}

/// Columns of the longest bar.
const BAR: u64 = 40;

/// A bar for each power of two.
pub fn histogram(histogram: &Histogram) -> Vec<String> {
    let most = histogram.bars.iter().map(|bar| bar.rows).max().unwrap_or(0).max(1);
    let line = |Bar { from, below, rows }: &Bar| {
        let range = if below - from == 1 {
            grouped(*from)
        } else {
            format!("{} to {}", grouped(*from), grouped(below - 1))
        };
        // What is there is seen.
        let n = (u128::from(*rows) * u128::from(BAR)).div_ceil(u128::from(most)) as usize;
        format!("  {range:>22} {:<40} {}", "#".repeat(n), grouped(*rows)).trim_end().to_owned()
    };
    histogram.bars.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 1500, 2_000_000].map(bytes), ["999 bytes", "1.5 kB", "2.0 MB"]);
        assert_eq!([1, 2000].map(rows), ["1 row", "2,000 rows"]);
    }

    #[test]
    fn the_longest_bar_fills_its_columns_and_none_is_lost() {
        let bars = vec![Bar { from: 1, below: 2, rows: 1 }, Bar { from: 2, below: 4, rows: 1000 }];
        let lines = histogram(&Histogram { bars, ..Histogram::default() });
        assert_eq!(lines[0], format!("  {:>22} {:<40} 1", "1", "#"));
        assert_eq!(lines[1], format!("  {:>22} {} 1,000", "2 to 3", "#".repeat(40)));
        assert!(lines.iter().all(|line| line.len() <= 80));
    }
}
