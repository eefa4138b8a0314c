use std::time::Duration;

use ftl_client::terminal::{Eta, Pace, Smoothed};
use ftl_core::metrics::Stepped;

use super::{BEGIN, stepped};

/// A pace after steps 1 to `n`, one every `millis`.
fn pace_of(n: u64, millis: u64) -> Pace {
    let mut pace = Pace::default();
    for step in 1..=n {
        pace.take(1, &stepped(step, 1.0), BEGIN + step * millis);
    }
    pace
}

#[test]
fn eta_is_time_per_step_times_steps_left() {
    // The first step's own second, then nine of two seconds: 19 s for 10 steps.
    let eta = pace_of(10, 2_000).eta(110, BEGIN + 20_000);
    assert_eq!(eta, Some(Eta { left: Duration::from_secs(190), n_steps_measured: 10 }));
}

#[test]
fn eta_counts_down_between_steps_and_never_below_zero() {
    let pace = pace_of(10, 1_000);
    assert_eq!(pace.eta(20, BEGIN + 10_000).map(|eta| eta.left), Some(Duration::from_secs(10)));
    assert_eq!(pace.eta(20, BEGIN + 14_000).map(|eta| eta.left), Some(Duration::from_secs(6)));
    assert_eq!(pace.eta(20, BEGIN + 99_000).map(|eta| eta.left), Some(Duration::ZERO));
}

#[test]
fn one_step_is_a_basis_too_and_none_is_not() {
    assert_eq!(Pace::default().eta(10, BEGIN), None);
    let eta = pace_of(1, 5_000).eta(11, BEGIN + 5_000);
    assert_eq!(eta, Some(Eta { left: Duration::from_secs(10), n_steps_measured: 1 }), "its own time");
}

#[test]
fn steps_that_are_not_logged_count() {
    let mut pace = Pace::default();
    pace.take(1, &stepped(10, 1.0), BEGIN + 10_000);
    pace.take(1, &stepped(20, 1.0), BEGIN + 20_000);
    let eta = pace.eta(31, BEGIN + 20_000);
    assert_eq!(eta, Some(Eta { left: Duration::from_secs(11), n_steps_measured: 11 }));
}

#[test]
fn pace_that_changed_is_followed() {
    let mut pace = pace_of(100, 10_000);
    for step in 101..=300 {
        pace.take(1, &stepped(step, 1.0), BEGIN + 1_000_000 + (step - 100) * 1_000);
    }
    let eta = pace.eta(400, BEGIN + 1_200_000).expect("an ETA");
    assert_eq!(eta, Eta { left: Duration::from_secs(100), n_steps_measured: 100 });
}

#[test]
fn another_attempt_or_a_repeated_step_begins_anew() {
    let mut pace = pace_of(10, 1_000);
    pace.take(2, &stepped(11, 1.0), BEGIN + 9_000_000);
    assert_eq!(pace.eta(12, BEGIN + 9_000_000).map(|eta| eta.n_steps_measured), Some(1));
    let mut pace = pace_of(10, 1_000);
    pace.take(1, &stepped(6, 1.0), BEGIN + 9_000_000);
    assert_eq!(pace.eta(7, BEGIN + 9_000_000).map(|eta| eta.left), Some(Duration::from_secs(1)));
}

#[test]
fn clock_that_goes_backwards_gives_no_eta() {
    let mut pace = Pace::default();
    pace.take(1, &stepped(1, 1.0), BEGIN + 100_000);
    pace.take(1, &stepped(2, 1.0), BEGIN);
    assert_eq!(pace.eta(10, BEGIN), None);
}

#[test]
fn rate_divides_tokens_by_the_time_of_their_steps() {
    let mut pace = Pace::default();
    assert_eq!(pace.tokens_per_sec(), None);
    pace.take(1, &Stepped { tokens: 300, step_millis: 1_000.0, ..stepped(1, 1.0) }, BEGIN);
    pace.take(1, &Stepped { tokens: 100, step_millis: 3_000.0, ..stepped(2, 1.0) }, BEGIN + 60_000);
    assert_eq!(pace.tokens_per_sec(), Some(100.0), "400 tokens in 4 s, whatever lay between");
}

#[test]
fn smoothing_starts_at_the_first_value_and_forgets() {
    let mut smoothed = Smoothed::default();
    assert_eq!(smoothed.value(), None);
    smoothed.take(4.0);
    assert!((smoothed.value().unwrap() - 4.0).abs() < 1e-12);
    smoothed.take(2.0);
    // (4 · 0.9 · 0.1 + 2 · 0.1) / (0.9 · 0.1 + 0.1)
    assert!((smoothed.value().unwrap() - 0.56 / 0.19).abs() < 1e-12, "{smoothed:?}");
    for _ in 0..200 {
        smoothed.take(1.0);
    }
    assert!((smoothed.value().unwrap() - 1.0).abs() < 1e-6);
}

#[test]
fn smoothing_leaves_out_what_is_no_number() {
    let mut smoothed = Smoothed::default();
    smoothed.take(f64::NAN);
    assert_eq!(smoothed.value(), None);
    smoothed.take(3.0);
    smoothed.take(f64::INFINITY);
    assert!((smoothed.value().unwrap() - 3.0).abs() < 1e-12);
}
