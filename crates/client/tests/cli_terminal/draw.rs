use ftl_client::terminal::{HEIGHT, Run, draw};
use ftl_core::Event;
use ftl_core::event::NoteLevel;
use ftl_core::job::{Job, Phase, State};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::{BEGIN, assert_golden, evaluated, event, job, phase, state, stepped};

/// A run after 60 of 100 steps, one a second.
fn running() -> Run {
    let mut run = Run::new(&job());
    let mut take = |time, what| run.take(&event(time, what));
    take(BEGIN, state(State::Running));
    take(BEGIN, phase(Phase::Training, Some(0), Some(100)));
    take(BEGIN, evaluated(0, 4.0));
    for step in 1..=60 {
        let loss_nats = 1.0 + 3.0 * (-(step as f64) / 20.0).exp();
        take(BEGIN + step * 1_000, Event::Stepped(stepped(step, loss_nats)));
        if step % 20 == 0 {
            take(BEGIN + step * 1_000, evaluated(step, loss_nats + 0.2));
        }
    }
    take(BEGIN + 60_000, Event::Saved { step: 50, path: "/data/c".to_owned(), bytes: 5 << 20 });
    take(
        BEGIN + 60_000,
        Event::Note { level: NoteLevel::Warning, message: "3 samples were dropped".to_owned() },
    );
    run
}

/// The picture as text.
fn picture(run: &Run, (columns, rows): (u16, u16), now_unix_ms: u64) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
    terminal.draw(|frame| draw(frame, run, now_unix_ms)).expect("a picture");
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in 0..rows {
        let line: String = (0..columns).map(|column| buffer[(column, row)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[test]
fn running_job_shows_gauge_figures_eta_and_curve() {
    assert_golden("running.txt", &picture(&running(), (80, HEIGHT), BEGIN + 65_000));
}

#[test]
fn narrow_terminal_gets_no_curve_and_a_short_title() {
    assert_golden("narrow.txt", &picture(&running(), (26, HEIGHT), BEGIN + 65_000));
}

#[test]
fn low_terminal_keeps_figures_and_notes() {
    assert_golden("low.txt", &picture(&running(), (80, 7), BEGIN + 65_000));
}

#[test]
fn queued_job_says_that_it_waits() {
    assert_golden("queued.txt", &picture(&Run::new(&job()), (60, HEIGHT), BEGIN));
}

#[test]
fn work_before_training_has_a_gauge_of_its_own() {
    let mut run = Run::new(&job());
    run.take(&event(BEGIN, state(State::Running)));
    run.take(&event(BEGIN, phase(Phase::Tokenizing, Some(1_200), Some(5_000))));
    assert_golden("tokenizing.txt", &picture(&run, (60, HEIGHT), BEGIN));
}

#[test]
fn interrupted_job_shows_why() {
    let mut run = running();
    let reason = Some("the worker died of signal 9".to_owned());
    run.take(&event(BEGIN, Event::State { state: State::Interrupted, reason }));
    let picture = picture(&run, (80, HEIGHT), BEGIN);
    assert!(picture.contains("INTERRUPTED\n"), "{picture}");
    assert!(picture.contains("the worker died of signal 9"), "{picture}");
    assert!(!picture.contains("ETA"), "{picture}");
}

#[test]
fn long_names_and_tiny_areas_are_cut_and_never_break() {
    let run = Run::new(&Job { name: "名前".repeat(60), ..job() });
    let picture_of_name = picture(&run, (40, HEIGHT), BEGIN);
    let title = picture_of_name.lines().next().expect("a title");
    assert!(title.contains('…') && title.ends_with("QUEUED"), "{title}");
    let run = running();
    for columns in 1..=35 {
        for rows in 1..=HEIGHT {
            picture(&run, (columns, rows), BEGIN);
        }
    }
}

#[test]
fn diverged_run_is_drawn_without_its_losses() {
    let mut run = Run::new(&job());
    run.take(&event(BEGIN, state(State::Running)));
    for step in 1..=5 {
        run.take(&event(BEGIN + step * 1_000, Event::Stepped(stepped(step, f64::NAN))));
    }
    let picture = picture(&run, (80, HEIGHT), BEGIN + 5_000);
    assert!(!picture.contains("loss"), "{picture}");
}

#[test]
fn held_out_losses_before_and_after_are_told_apart() {
    let run = running();
    assert_eq!(run.held_out_before.map(|held_out| held_out.step), Some(0));
    assert_eq!(run.held_out_after.map(|held_out| held_out.step), Some(60));
    assert_eq!(run.first_loss_nats, Some(1.0 + 3.0 * (-1.0_f64 / 20.0).exp()));
}
