//! Tables as aligned columns, two spaces apart, as `ps` and `kubectl` print them: they can be read, cut and grepped.

use ftl_core::job::State;
use ratatui::backend::IntoCrossterm as _;
use ratatui::crossterm::style::Stylize as _;
use ratatui::style::Color;
use ratatui::text::Span;

use super::figures::clean;

/// Space between columns.
const GAP: &str = "  ";

/// On which side a column is even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Whether cells have their colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// For a terminal; `NO_COLOR` in the environment leaves them out all the same.
    Colored,
    /// For files and pipes.
    Plain,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    color: Option<Color>,
}

impl Cell {
    /// A cell in a colour.
    pub fn colored(text: impl AsRef<str>, color: Option<Color>) -> Self {
        Self { text: clean(text.as_ref()), color }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::colored(text, None)
    }
}

/// Rows below a heading.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        assert_eq!(N, self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }

    /// The lines, without a line break at the end.
    pub fn text(&self, paint: Paint) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| width(&row[column].text));
                cells.chain([width(self.columns[column].0)]).max().unwrap_or(0)
            })
            .collect();
        let heading: Vec<Cell> = self.columns.iter().map(|(name, _)| Cell::from(name)).collect();
        let lines = std::iter::once(&heading).chain(&self.rows).map(|row| self.line(row, &widths, paint));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut line = String::new();
        for (((Cell { text, color }, (_, align)), full), index) in
            row.iter().zip(&self.columns).zip(widths).zip(0..)
        {
            let space = " ".repeat(full - width(text));
            if index > 0 {
                line.push_str(GAP);
            }
            if *align == Align::Right {
                line.push_str(&space);
            }
            match (color, paint) {
                (Some(color), Paint::Colored) => {
                    line.push_str(&text.as_str().with(color.into_crossterm()).to_string());
                }
                (Some(_), Paint::Plain) | (None, _) => line.push_str(text),
            }
            if *align == Align::Left {
                line.push_str(&space);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The colour that goes with a state.
pub fn state_color(state: State) -> Color {
    match state {
        State::Queued | State::Starting => Color::Cyan,
        State::Running => Color::Blue,
        State::Stopping | State::Stopped | State::Interrupted => Color::Yellow,
        State::Succeeded => Color::Green,
        State::Failed => Color::Red,
        State::Cancelled => Color::DarkGray,
    }
}

/// Columns of a terminal that a text takes.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}
