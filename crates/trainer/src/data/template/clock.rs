//! What a template reads of the clock, as far as its text tells.

use std::sync::LazyLock;

use regex::Regex;

use super::environment::strftime_now;

/// What the calls of `strftime_now` in `source` give now, in order; `None`: one has a format that is not written out.
pub fn readings(source: &str) -> Option<Vec<String>> {
    static USE: LazyLock<Regex> = LazyLock::new(|| {
        let call = r#"\s*\(\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\)"#;
        let question = r"\s+is\s+(?:not\s+)?defined";
        Regex::new(&format!("strftime_now(?:{call}|{question})?")).expect("the expression is valid")
    });
    const NAME: &str = "strftime_now";
    let mut readings = Vec::new();
    for found in USE.captures_iter(source) {
        match found.get(1).or_else(|| found.get(2)) {
            Some(format) => readings.push(strftime_now(format.as_str()).ok()?),
            None if found[0].len() > NAME.len() => {}
            None => return None,
        }
    }
    Some(readings)
}

#[cfg(test)]
mod tests {
    use super::readings;

    #[test]
    fn formats_that_are_written_out_are_read_and_others_can_not_be_told() {
        let llama = "{%- if strftime_now is defined %}{%- set d = strftime_now(\"%d %b %Y\") %}{%- endif %}";
        let day = readings(llama).expect("told");
        assert_eq!(day.len(), 1);
        assert!(day[0].len() >= "1 Jan 2026".len(), "{day:?}");
        assert_eq!(
            readings("{{ strftime_now ( '%%' ) }}{{ strftime_now('%%%%') }}"),
            Some(vec!["%".into(), "%%".into()])
        );
        assert_eq!(readings("{{ messages }}"), Some(Vec::new()));
        for unknown in
            ["{{ strftime_now(f) }}", "{% set now = strftime_now %}", "{{ strftime_now('%H' ~ x) }}"]
        {
            assert_eq!(readings(unknown), None, "{unknown}");
        }
    }
}
