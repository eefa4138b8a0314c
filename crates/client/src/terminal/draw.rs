//! A run drawn into a small area: name and state, how far it is, its figures, and the loss as a curve. What does not
//! fit a low or narrow area is left out, least important first.

use ftl_core::job::{Phase, State};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, Gauge, GraphType, Paragraph};

use super::figures::{count, duration, learning_rate, loss};
use super::{HeldOut, Run, Work, state_color};

/// Rows that everything takes: title, gauge, figures, ETA, curve, notes.
pub const HEIGHT: u16 = TEXT_ROWS + CURVE_ROWS + NOTE_ROWS;
const TEXT_ROWS: u16 = 4;
const CURVE_ROWS: u16 = 10;
/// A curve that is lower shows nothing.
const FEWEST_CURVE_ROWS: u16 = 5;
/// A curve that is narrower is all axis.
const FEWEST_CURVE_COLUMNS: u16 = 30;
const NOTE_ROWS: u16 = 2;
const TRAIN_COLOR: Color = Color::Cyan;
const HELD_OUT_COLOR: Color = Color::Yellow;
/// Dots of a braille character from left to right.
const DOTS_PER_COLUMN: usize = 2;

/// Draws what is known of a run at a moment.
pub fn draw(frame: &mut Frame<'_>, run: &Run, now_unix_ms: u64) {
    let area = frame.area();
    let curve_rows = curve_rows(area);
    let rows: [Rect; 6] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(curve_rows),
        Constraint::Length(NOTE_ROWS),
    ])
    .areas(area);
    let [title_row, gauge_row, figures_row, eta_row, curve_area, notes_area] = rows;
    frame.render_widget(title(run, title_row.width), title_row);
    draw_gauge(frame, run, gauge_row);
    frame.render_widget(figures(run), figures_row);
    frame.render_widget(Line::from(outlook(run, now_unix_ms)), eta_row);
    if curve_rows > 0 {
        draw_curve(frame, run, curve_area);
    }
    let n_notes = usize::from(notes_area.height);
    let newest = run.notes.iter().skip(run.notes.len().saturating_sub(n_notes));
    let notes: Vec<Line<'_>> = newest.map(|note| Line::from(note.as_str()).style(dim())).collect();
    frame.render_widget(Paragraph::new(notes), notes_area);
}

/// Rows for the curve: all, what a low terminal leaves, or none.
fn curve_rows(area: Rect) -> u16 {
    let left = area.height.saturating_sub(TEXT_ROWS + NOTE_ROWS).min(CURVE_ROWS);
    if left < FEWEST_CURVE_ROWS || area.width < FEWEST_CURVE_COLUMNS { 0 } else { left }
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Name and id on the left, the state on the right; the id goes where they don't fit, then the name's end.
fn title(run: &Run, columns: u16) -> Line<'static> {
    let state = match &run.work {
        Some(Work { phase, .. }) => format!("{} · {phase}", run.state),
        None => run.state.to_string(),
    };
    let columns = usize::from(columns);
    let id = format!("  {}", run.id);
    let state_columns = width(&state);
    let with_id = width(&run.name) + width(&id) + 2 + state_columns <= columns;
    let name =
        cut(&run.name, columns.saturating_sub(state_columns + 2 + if with_id { width(&id) } else { 0 }));
    let id = if with_id { id } else { String::new() };
    let used = width(&name) + width(&id) + state_columns;
    Line::from(vec![
        Span::styled(name, Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(id, dim()),
        Span::raw(" ".repeat(columns.saturating_sub(used))),
        Span::styled(state, Style::new().fg(state_color(run.state))),
    ])
}

/// The text, or as much of it as fits with dots at its end.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut text = text.to_owned();
    while width(&text) >= columns && text.pop().is_some() {}
    if columns > 0 {
        text.push('…');
    }
    text
}

/// Columns of a terminal that a text takes.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

fn draw_gauge(frame: &mut Frame<'_>, run: &Run, area: Rect) {
    let training = run.total_steps.filter(|total| *total > 0).map(|total| (run.step, total, " steps"));
    let amount = match run.work {
        Some(Work { phase: Phase::Training, .. }) | None => training,
        Some(Work { amount: Some((done, total)), .. }) => Some((done, total, "")),
        Some(Work { amount: None, .. }) => training.filter(|_| run.step > 0),
    };
    let Some((done, total, unit)) = amount else {
        frame.render_widget(Line::from(waiting(run)).style(dim()), area);
        return;
    };
    let ratio = (done as f64 / total as f64).clamp(0.0, 1.0);
    let label = format!("{}/{}{unit}  {:.0} %", count(done), count(total), (ratio * 100.0).floor());
    let gauge = Gauge::default().ratio(ratio).use_unicode(true).label(label);
    frame.render_widget(gauge.gauge_style(Style::new().fg(state_color(run.state)).bg(Color::Black)), area);
}

/// What a run does that has no amount to show.
fn waiting(run: &Run) -> String {
    match (&run.reason, run.work) {
        (Some(reason), _) => reason.clone(),
        (None, Some(Work { phase, .. })) => format!("{phase} …"),
        (None, None) => match run.state {
            State::Queued => "waits for its turn".to_owned(),
            State::Starting => "a worker is being started".to_owned(),
            State::Running | State::Stopping => "…".to_owned(),
            State::Interrupted => "goes on by itself".to_owned(),
            State::Stopped | State::Succeeded | State::Failed | State::Cancelled => String::new(),
        },
    }
}

/// The losses in the colours of their curves.
fn figures(run: &Run) -> Line<'static> {
    let mut parts = Vec::new();
    if let Some(smoothed) = run.smoothed_loss.value() {
        parts.push(Span::styled(format!("loss {}", loss(smoothed)), Style::new().fg(TRAIN_COLOR)));
    }
    let held_out = match (run.held_out_before, run.held_out_after) {
        (Some(before), Some(after)) => {
            Some(format!("{} → {}", loss(before.loss_nats), loss(after.loss_nats)))
        }
        (Some(HeldOut { loss_nats, .. }), None) => Some(loss(loss_nats)),
        (None, _) => None,
    };
    if let Some(losses) = held_out {
        parts.push(Span::styled(format!("• held-out {losses}"), Style::new().fg(HELD_OUT_COLOR)));
    }
    parts.extend(run.learning_rate.map(|rate| Span::raw(format!("lr {}", learning_rate(rate)))));
    let rate = run.pace.tokens_per_sec();
    parts.extend(rate.map(|rate| Span::raw(format!("{} tokens/s", count(rate as u64)))));
    let spaced = parts.into_iter().flat_map(|part| [part, Span::raw("   ")]);
    Line::from(spaced.collect::<Vec<_>>())
}

/// When the run will be done, or why it does not go on.
fn outlook(run: &Run, now_unix_ms: u64) -> String {
    let is_going = matches!(run.state, State::Running | State::Stopping);
    let eta = run.total_steps.filter(|_| is_going).and_then(|total| run.pace.eta(total, now_unix_ms));
    match (eta, &run.reason) {
        (Some(eta), _) => {
            let steps = if eta.n_steps_measured == 1 { "step" } else { "steps" };
            format!("ETA {} (from {} {steps} measured)", duration(eta.left), eta.n_steps_measured)
        }
        (None, Some(reason)) if run.step > 0 => reason.clone(),
        (None, _) => String::new(),
    }
}

fn draw_curve(frame: &mut Frame<'_>, run: &Run, area: Rect) {
    let train = run.train_curve.points(usize::from(area.width) * DOTS_PER_COLUMN);
    let held_out = run.held_out_curve.points(usize::from(area.width));
    if train.is_empty() && held_out.is_empty() {
        return;
    }
    let losses = || train.iter().chain(&held_out).map(|(_, loss_nats)| *loss_nats);
    let (mut low, mut high) =
        (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
    if high - low < 1e-6 {
        (low, high) = (low - 0.05, high + 0.05);
    }
    let seen = train.iter().chain(&held_out).map(|(step, _)| *step).fold(1.0, f64::max);
    let last_step = run.total_steps.map_or(seen, |total| seen.max(total as f64));
    let datasets = vec![
        Dataset::default()
            .name("training loss")
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(TRAIN_COLOR))
            .data(&train),
        Dataset::default()
            .name("held out")
            .marker(Marker::Dot)
            .graph_type(GraphType::Scatter)
            .style(Style::new().fg(HELD_OUT_COLOR))
            .data(&held_out),
    ];
    let chart = Chart::new(datasets.into_iter().skip(usize::from(train.is_empty())).collect())
        .x_axis(
            Axis::default()
                .bounds([0.0, last_step])
                .labels(["0".to_owned(), count(last_step as u64)])
                .style(dim()),
        )
        .y_axis(
            Axis::default()
                .bounds([low, high])
                .labels([format!("{low:.3}"), format!("{high:.3}")])
                .style(dim()),
        )
        // Its box would hide the beginning of the curve, which is at the top.
        .legend_position(None);
    frame.render_widget(chart, area);
}
