use ftl_client::terminal::{Align, Cell, Paint, Table, state_color};
use ftl_core::job::State;

fn table() -> Table {
    let mut table = Table::new(&[("NAME", Align::Left), ("ROWS", Align::Right), ("STATE", Align::Left)]);
    let state = |state: State| Cell::colored(state.to_string(), Some(state_color(state)));
    table.row(["a".into(), "7".into(), state(State::Running)]);
    table.row(["你好".into(), "12,345".into(), state(State::Failed)]);
    table.row(["".into(), "".into(), "".into()]);
    table
}

#[test]
fn columns_are_even_for_wide_characters_too() {
    let expected = "NAME    ROWS  STATE\na          7  RUNNING\n你好  12,345  FAILED\n";
    assert_eq!(table().text(Paint::Plain), expected);
}

#[test]
fn colours_are_for_terminals() {
    let colored = table().text(Paint::Colored);
    assert!(!table().text(Paint::Plain).contains('\x1b'));
    // Whoever runs the tests may have set NO_COLOR.
    assert_eq!(colored.contains('\x1b'), std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
}

#[test]
fn cells_hold_no_control_characters() {
    let mut table = Table::new(&[("NAME", Align::Left)]);
    table.row(["evil\x1b]0;title\x07\nname".into()]);
    assert_eq!(table.text(Paint::Plain), "NAME\nevil\u{fffd}]0;title\u{fffd} name");
}
