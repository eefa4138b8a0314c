//! What a method of a text costs. minijinja pays for its own filters and operators out of the fuel; methods of Python's
//! types are called outside of it, and a template of one line could have them make gigabytes
//! (`('a' * 100000).replace('a', 'b' * 100000)`). So what they will make is counted before they make it.

use std::fmt::{self, Write};

use minijinja::{Error, State, Value};

/// What minijinja asks a unit of fuel for.
const BYTES_OF_UNIT: usize = 64;
/// A value in a list, its text aside.
const VALUE_BYTES: usize = 64;

/// Pays for calling `method` of `text`.
///
/// # Errors
/// The fuel is used up.
pub fn charge(state: &State, text: &str, method: &str, args: &[Value]) -> Result<(), Error> {
    let left = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    let affordable = usize::try_from(left).unwrap_or(usize::MAX).saturating_mul(BYTES_OF_UNIT);
    let bytes = text.len().saturating_add(made(text, method, args, affordable));
    state.consume_fuel((bytes / BYTES_OF_UNIT) as u64)
}

/// At most how many bytes the method will make. Stops counting where that is more than `affordable`.
fn made(text: &str, method: &str, args: &[Value], affordable: usize) -> usize {
    let argument = |index: usize| args.get(index).and_then(Value::as_str);
    match method {
        "replace" => {
            let n_places = argument(0).map_or(0, |old| text.matches(old).count());
            n_places.saturating_mul(argument(1).map_or(0, str::len))
        }
        "split" | "rsplit" | "splitlines" => {
            let n_parts = match (method, argument(0)) {
                ("splitlines", _) => text.lines().count(),
                (_, Some(separator)) => text.matches(separator).count() + 1,
                (_, None) => text.split_whitespace().count(),
            };
            n_parts.saturating_mul(VALUE_BYTES)
        }
        "join" => {
            let mut counter = Counter { n_bytes: 0, affordable };
            let values = args.first().and_then(|values| values.try_iter().ok());
            for value in values.into_iter().flatten() {
                if write!(counter, "{text}{value}").is_err() {
                    break;
                }
            }
            counter.n_bytes
        }
        "format" => {
            let mut counter = Counter { n_bytes: 0, affordable };
            // A value too long to be counted is too long to be paid for.
            let _ = args.iter().try_for_each(|value| write!(counter, "{value}"));
            let each = counter.n_bytes.saturating_add(widest(text));
            text.matches('{').count().saturating_mul(each)
        }
        // As long as the text at most, but for letters that grow with their case.
        _ => text.len(),
    }
}

/// The largest number in a text, which may be the width of a field.
fn widest(text: &str) -> usize {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers.map(|digits| digits.parse().unwrap_or(usize::MAX)).max().unwrap_or_default()
}

/// Counts what is written to it and keeps nothing.
struct Counter {
    n_bytes: usize,
    affordable: usize,
}

impl Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.n_bytes = self.n_bytes.saturating_add(text.len());
        if self.n_bytes > self.affordable { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::environment;

    fn rendered(template: &str) -> Result<String, String> {
        environment().render_str(template, ()).map_err(|error| error.to_string())
    }

    #[test]
    fn methods_that_would_make_too_much_end_at_once() {
        for template in [
            "{{ ('a' * 100000).replace('a', 'b' * 100000)|length }}",
            "{{ ('a' * 100000).replace('', 'b' * 100000)|length }}",
            "{{ '{:>3000000000}'.format(1) }}",
            "{{ '{:>99999999999999999999}'.format(1) }}",
            "{{ ('{0}' * 100000).format('x' * 1000000)|length }}",
            "{{ ('x' * 20000000).split('')|length }}",
            "{{ ('x ' * 20000000).split()|length }}",
            "{{ 'y'.join(['x' * 1000000] * 1000000)|length }}",
            "{{ ('y' * 1000000).join('x' * 100000)|length }}",
            "{% for i in range(100000) %}{% set x = ('a' * 1000000).upper() %}{% endfor %}",
        ] {
            let began = std::time::Instant::now();
            let error = rendered(template).expect_err(template);
            assert!(error.contains("fuel"), "{template}: {error}");
            assert!(began.elapsed().as_secs() < 30, "{template}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn methods_of_usual_size_are_free_of_it() {
        let cases = [
            ("{{ 'a-b'.replace('-', '+') }}", "a+b"),
            ("{{ '{:>4}|{}'.format(1, 'x') }}", "   1|x"),
            ("{{ 'a,b'.split(',')|join('+') }}", "a+b"),
            ("{{ '-'.join(['a', 1]) }}", "a-1"),
            ("{{ ('word ' * 200000).split()|length }}", "200000"),
        ];
        for (template, expected) in cases {
            assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
        }
    }
}
