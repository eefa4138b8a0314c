//! Text in lines of 80 columns that a terminal shows as they are.

/// How many spaces a line begins with; what it goes on in has two more.
#[derive(Clone, Copy, Debug)]
pub struct Indent(pub usize);

/// Columns of a line.
const WIDTH: usize = 80;
/// Lines that one text may take; the rest of it is left out.
const MOST_LINES: usize = 4;

/// Text of a user without what a terminal would act on: control characters, and those that turn the direction of
/// writing.
pub fn clean(text: &str) -> String {
    let is_turning =
        |c: char| matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() || is_turning(c) => '\u{FFFD}',
            c => c,
        })
        .collect()
}

/// `text` in lines, broken between words where that is possible.
pub fn wrapped(text: &str, Indent(indent): Indent) -> Vec<String> {
    let mut lines = vec![" ".repeat(indent)];
    let mut column = indent;
    let mut is_new = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        if !is_new && column + 1 + width(word) > WIDTH {
            lines.push(" ".repeat(indent + 2));
            (column, is_new) = (indent + 2, true);
        }
        // A word that is longer than a line.
        while column + width(word) > WIDTH && is_new {
            let (head, tail) = cut(word, WIDTH - column);
            lines.last_mut().expect("there is one").push_str(head);
            lines.push(" ".repeat(indent + 2));
            (column, word) = (indent + 2, tail);
        }
        let line = lines.last_mut().expect("there is one");
        if !is_new {
            line.push(' ');
            column += 1;
        }
        line.push_str(word);
        column += width(word);
        is_new = false;
    }
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        let last = lines.last_mut().expect("there are some");
        let kept = cut(last, WIDTH - 2).0.trim_end().to_owned();
        *last = format!("{kept} …");
    }
    lines
}

/// Columns on a terminal, near enough: wide characters of East Asia and pictures take two.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36F}' | '\u{200B}'..='\u{200D}' | '\u{FE00}'..='\u{FE0F}' => 0,
        '\u{1100}'..='\u{115F}'
        | '\u{2E80}'..='\u{A4CF}'
        | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE6F}'
        | '\u{FF00}'..='\u{FF60}'
        | '\u{FFE0}'..='\u{FFE6}'
        | '\u{1F300}'..='\u{1F64F}'
        | '\u{1F680}'..='\u{1F9FF}'
        | '\u{20000}'..='\u{3FFFD}' => 2,
        _ => 1,
    }
}

/// As many characters as fit, at least one.
fn cut(text: &str, most: usize) -> (&str, &str) {
    let mut taken = 0;
    let place = text.char_indices().find(|(place, c)| {
        taken += columns(*c);
        taken > most && *place > 0
    });
    place.map_or((text, ""), |(place, _)| text.split_at(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_not_shown() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202E}d\u{9b}"), "a\u{FFFD}[2Jb c\u{FFFD}d\u{FFFD}");
    }

    #[test]
    fn lines_are_no_wider_than_a_terminal() {
        for text in
            ["word ".repeat(60), "x".repeat(250), "日本".repeat(60), format!("a {} b", "y".repeat(100))]
        {
            let lines = wrapped(&text, Indent(4));
            assert!(lines.len() > 1 && lines.len() <= MOST_LINES, "{lines:#?}");
            assert!(lines.iter().all(|line| width(line) <= WIDTH), "{lines:#?}");
            assert!(lines[0].starts_with("    ") && lines[1].starts_with("      "), "{lines:#?}");
        }
        assert_eq!(wrapped("short", Indent(2)), ["  short"]);
    }
}
