use ftl_client::terminal::Curve;

#[test]
fn short_curve_keeps_every_point() {
    let mut curve = Curve::default();
    assert!(curve.is_empty());
    for step in 1..=5 {
        curve.take(step, 10.0 - step as f64);
    }
    assert_eq!(curve.points(100), [(1.0, 9.0), (2.0, 8.0), (3.0, 7.0), (4.0, 6.0), (5.0, 5.0)]);
}

#[test]
fn few_columns_show_means_of_neighbours() {
    let mut curve = Curve::default();
    for step in 1..=4 {
        curve.take(step, step as f64);
    }
    assert_eq!(curve.points(2), [(1.5, 1.5), (3.5, 3.5)]);
    assert_eq!(curve.points(0), [(2.5, 2.5)], "no column is taken for one");
}

#[test]
fn long_curve_stays_bounded_and_true() {
    let mut curve = Curve::default();
    let n_steps = 1_000_000_u64;
    for step in 1..=n_steps {
        curve.take(step, step as f64);
    }
    let points = curve.points(usize::MAX);
    assert!((1_000..=2_048).contains(&points.len()), "{}", points.len());
    for (step, loss_nats) in points {
        assert!(
            (step - loss_nats).abs() < 1e-6,
            "the mean loss belongs to the middle step: {step} {loss_nats}"
        );
    }
}

#[test]
fn resumed_run_replaces_what_comes_after_its_checkpoint() {
    let mut curve = Curve::default();
    for step in 1..=4 {
        curve.take(step, 1.0);
    }
    curve.take(3, 7.0);
    assert_eq!(curve.points(100), [(1.0, 1.0), (2.0, 1.0), (3.0, 7.0)]);
}

#[test]
fn loss_that_is_no_number_has_no_point() {
    let mut curve = Curve::default();
    curve.take(1, f64::NAN);
    assert!(curve.is_empty());
    curve.take(2, 1.0);
    curve.take(3, f64::INFINITY);
    assert_eq!(curve.points(100), [(2.0, 1.0)]);
}
