use std::time::Duration;

use ftl_client::terminal::{age, bytes, clean, count, duration, learning_rate, loss};

use super::BEGIN;

#[test]
fn sizes_are_in_binary_units() {
    let cases = [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (327_155_712, "312.0 MiB"),
        (1_610_612_736, "1.5 GiB"),
        (u64::MAX, "16777216.0 TiB"),
    ];
    for (size, expected) in cases {
        assert_eq!(bytes(size), expected);
    }
}

#[test]
fn thousands_are_apart() {
    let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
    for (number, expected) in cases {
        assert_eq!(count(number), expected);
    }
}

#[test]
fn ages_are_in_their_largest_unit() {
    let cases = [
        (0, "just now"),
        (4_999, "just now"),
        (5_000, "5 s ago"),
        (59_999, "59 s ago"),
        (180_000, "3 min ago"),
        (7_200_000, "2 h ago"),
        (5 * 86_400_000, "5 d ago"),
    ];
    for (millis, expected) in cases {
        assert_eq!(age(BEGIN, BEGIN + millis), expected);
    }
    assert_eq!(age(BEGIN + 9_000, BEGIN), "just now", "the service's clock may be ahead");
}

#[test]
fn durations_are_in_their_two_largest_units() {
    let cases = [
        (0.0, "0.0 s"),
        (0.44, "0.4 s"),
        (12.9, "12 s"),
        (200.0, "3 min 20 s"),
        (3_900.0, "1 h 05 min"),
        (2.0 * 86_400.0 + 3.0 * 3_600.0, "2 d 03 h"),
    ];
    for (secs, expected) in cases {
        assert_eq!(duration(Duration::from_secs_f64(secs)), expected);
    }
}

#[test]
fn losses_and_rates_have_a_fixed_form() {
    assert_eq!(loss(1.234_56), "1.2346");
    assert_eq!(loss(f64::NAN), "NaN");
    assert_eq!(learning_rate(2e-4), "2.00e-4");
    assert_eq!(learning_rate(0.0), "0.00e0");
}

#[test]
fn text_of_others_can_not_steer_the_terminal() {
    assert_eq!(clean("a\x1b[2Jb\x07"), "a\u{fffd}[2Jb\u{fffd}");
    assert_eq!(clean("two\nlines\tand a tab"), "two lines and a tab");
    assert_eq!(clean("Grüße 你好"), "Grüße 你好");
}
