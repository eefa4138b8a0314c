//! The order of samples and the document of `--ids`.

use ftl_core::spec::resolved::{
    AdamW, Checkpointing, Duration, Every, FinalWeights, MomentFormat, Rows, SampleOrder, Schedule, Train,
    Warmup,
};
use ftl_trainer::data::ids;
use ftl_trainer::data::mix::Part;
use ftl_trainer::data::order::{Plan, Pool};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

fn train(batch: u64, accumulation: u64, duration: Duration, seed: u64) -> Train {
    Train {
        duration,
        per_device_train_batch_size: batch,
        gradient_accumulation_steps: accumulation,
        learning_rate: 1e-4,
        schedule: Schedule::Constant,
        warmup: Warmup::Steps(0),
        adamw: AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 },
        moments: MomentFormat::F32,
        max_grad_norm: None,
        neftune_noise_alpha: None,
        gradient_checkpointing: Checkpointing::None,
        seed,
        logging: Every::Never,
        eval: Every::Never,
        save: Every::Never,
        save_total_limit: None,
        result: FinalWeights::Last,
        early_stopping_patience: None,
    }
}

/// Samples of one file, all of one length, a row each.
fn pool(n_samples: usize, order: SampleOrder) -> Pool {
    Pool {
        lengths: vec![10; n_samples],
        files: vec![Part { n_samples, weight: None }],
        order,
        rows: Rows::Samples,
        max_length: 100,
    }
}

/// Samples of 1 to 60 tokens in two files.
fn uneven(n_samples: usize, weight: impl Into<Option<f64>>) -> Pool {
    let (first, weight) = (n_samples / 3, weight.into());
    Pool {
        lengths: (0..n_samples).map(|index| 1 + index * 37 % 60).collect(),
        files: vec![Part { n_samples: first, weight }, Part { n_samples: n_samples - first, weight: None }],
        ..pool(n_samples, SampleOrder::Shuffled)
    }
}

fn packed(n_samples: usize, weight: impl Into<Option<f64>>) -> Pool {
    Pool { rows: Rows::Packed, ..uneven(n_samples, weight) }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_epoch_takes_every_sample_once(
        n_samples in 1_usize..200, batch in 1_u64..9, accumulation in 1_u64..5, seed: u64, epoch in 0_u64..4,
    ) {
        let plan = Plan::new(pool(n_samples, SampleOrder::Shuffled), &train(batch, accumulation, Duration::Epochs(1.0), seed));
        let n_microbatches = (n_samples as u64).div_ceil(batch);
        prop_assert_eq!(plan.steps_in(0), n_microbatches.div_ceil(accumulation));
        let first = epoch * plan.steps_in(0);
        let steps: Vec<Vec<Vec<usize>>> =
            (first..first + plan.steps_in(0)).map(|step| plan.step(step)).collect();
        let microbatches: Vec<&Vec<usize>> = steps.iter().flatten().collect();
        prop_assert_eq!(microbatches.len() as u64, n_microbatches);
        let (last, full) = microbatches.split_last().expect("one at least");
        prop_assert!(!last.is_empty() && full.iter().all(|microbatch| microbatch.len() as u64 == batch));
        let (last, full) = steps.split_last().expect("one at least");
        prop_assert!(!last.is_empty() && full.iter().all(|step| step.len() as u64 == accumulation));
        let mut taken: Vec<usize> = steps.into_iter().flatten().flatten().collect();
        prop_assert_eq!(&taken, &plan.epoch(epoch).samples);
        taken.sort_unstable();
        prop_assert_eq!(taken, (0..n_samples).collect::<Vec<_>>());
    }

    #[test]
    fn a_step_does_not_depend_on_what_was_asked_before(seed: u64, step in 0_u64..100) {
        let plan = || Plan::new(pool(23, SampleOrder::Shuffled), &train(2, 3, Duration::Steps(100), seed));
        let (used, fresh) = (plan(), plan());
        for earlier in 0..step {
            used.step(earlier);
        }
        prop_assert_eq!(used.step(step), fresh.step(step));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packed_and_mixed_epochs_follow_each_other_without_a_gap(
        n_samples in 1_usize..150, weight in 0.1_f64..8.0, batch in 1_u64..5, accumulation in 1_u64..4, seed: u64,
    ) {
        for pool in [uneven(n_samples, weight), packed(n_samples, weight), packed(n_samples, None)] {
            let plan = || Plan::new(pool.clone(), &train(batch, accumulation, Duration::Epochs(3.0), seed));
            let walked = plan();
            let mut step = 0;
            for epoch in 0..3 {
                let mut taken: Vec<usize> = Vec::new();
                loop {
                    // What a resumed run asks for first is what one that was not interrupted takes there.
                    prop_assert_eq!(walked.step(step), plan().step(step));
                    taken.extend(walked.step(step).into_iter().flatten());
                    let (is_last, done) = (walked.ends_epoch(step), walked.epochs_after(step));
                    prop_assert_eq!(is_last, done == epoch as f64 + 1.0);
                    step += 1;
                    if is_last {
                        break;
                    }
                }
                prop_assert_eq!(&taken, &walked.epoch(epoch).samples);
                prop_assert_eq!(taken.len(), n_samples);
            }
            prop_assert_eq!(step, walked.total_steps());
        }
    }

    #[test]
    fn no_microbatch_is_larger_than_said(n_samples in 1_usize..150, weight in 0.1_f64..8.0, batch in 1_u64..5, seed: u64) {
        for pool in [uneven(n_samples, weight), packed(n_samples, weight), packed(n_samples, None)] {
            let plan = Plan::new(pool.clone(), &train(batch, 2, Duration::Epochs(2.0), seed));
            for step in 0..plan.total_steps() {
                for microbatch in plan.step(step) {
                    let n_tokens: usize = microbatch.iter().map(|sample| pool.lengths[*sample]).sum();
                    prop_assert!(n_tokens <= plan.most_tokens());
                }
            }
        }
    }
}

#[test]
fn the_packed_and_the_mixed_order_never_change() {
    let pools = [
        packed(12, None),
        uneven(12, 4.0),
        Pool { order: SampleOrder::GroupedByLength, ..uneven(12, None) },
        Pool { order: SampleOrder::File, ..packed(12, None) },
    ];
    let orders =
        pools.map(|pool| Plan::new(pool, &train(2, 1, Duration::Epochs(1.0), 42)).epoch(1).samples.clone());
    let expected = [
        [3, 11, 4, 2, 10, 8, 6, 1, 9, 7, 5, 0],
        [1, 3, 10, 3, 1, 8, 2, 2, 0, 0, 3, 2],
        [8, 2, 9, 10, 11, 6, 5, 0, 4, 7, 3, 1],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    ];
    assert_eq!(orders, expected);
}

#[test]
fn grouped_microbatches_have_samples_of_similar_length() {
    let spread = |order| {
        let pool = Pool { order, ..uneven(400, None) };
        let plan = Plan::new(pool.clone(), &train(4, 1, Duration::Epochs(1.0), 7));
        let spread = |microbatch: Vec<usize>| {
            let lengths = || microbatch.iter().map(|sample| pool.lengths[*sample]);
            lengths().max().expect("a sample") - lengths().min().expect("a sample")
        };
        (0..100).flat_map(|step| plan.step(step)).map(spread).sum::<usize>()
    };
    assert!(spread(SampleOrder::GroupedByLength) * 5 < spread(SampleOrder::Shuffled));
}

#[test]
fn epochs_and_seeds_give_other_orders() {
    let plan = |seed| Plan::new(pool(50, SampleOrder::Shuffled), &train(1, 1, Duration::Epochs(2.0), seed));
    assert_ne!(plan(1).epoch(0).samples, plan(1).epoch(1).samples);
    assert_ne!(plan(1).epoch(0).samples, plan(2).epoch(0).samples);
    assert_eq!(plan(1).epoch(5).samples, plan(1).epoch(5).samples);
}

#[test]
fn the_drawn_order_never_changes() {
    // A run that is resumed with a later version goes on in the same order.
    let plan = Plan::new(pool(8, SampleOrder::Shuffled), &train(1, 1, Duration::Epochs(1.0), 42));
    assert_eq!(plan.epoch(0).samples, [4, 7, 0, 1, 3, 2, 6, 5]);
    assert_eq!(plan.epoch(1).samples, [6, 3, 7, 0, 4, 2, 1, 5]);
}

#[test]
fn the_order_of_the_file_can_be_kept() {
    let plan = Plan::new(pool(7, SampleOrder::File), &train(2, 3, Duration::Epochs(1.0), 1));
    assert_eq!(plan.step(0), [vec![0, 1], vec![2, 3], vec![4, 5]]);
    assert_eq!(plan.step(1), [vec![6]]);
    assert_eq!(plan.step(2), plan.step(0));
}

#[test]
fn steps_and_epochs_are_counted_as_transformers_counts_them() {
    // transformers 5.23, Trainer.set_initial_training_values: (samples, batch, accumulation, epochs) -> max_steps.
    for (n_samples, batch, accumulation, epochs, expected) in [
        (7, 2, 3, 1.0, 2),
        (7, 2, 3, 3.0, 6),
        (7, 2, 3, 0.5, 1),
        (7, 2, 3, 1.2, 3),
        (1, 4, 8, 2.0, 2),
        (100, 4, 1, 0.1, 3),
    ] {
        let plan = Plan::new(
            pool(n_samples, SampleOrder::File),
            &train(batch, accumulation, Duration::Epochs(epochs), 1),
        );
        assert_eq!(plan.total_steps(), expected, "{n_samples} {batch} {accumulation} {epochs}");
    }
    let plan = Plan::new(pool(7, SampleOrder::File), &train(2, 3, Duration::Steps(9), 1));
    assert_eq!(plan.total_steps(), 9);
    assert_eq!([0, 1, 2, 3].map(|step| plan.epochs_after(step)), [0.75, 1.0, 1.75, 2.0]);
    assert_eq!([0, 1, 2, 3].map(|step| plan.ends_epoch(step)), [false, true, false, true]);
}

#[test]
fn ids_become_segments_and_remember_their_places() {
    let rows = ids::parse(
        r#"{"input_ids": [[0, 5, 6, 7, 8, 0], [9]], "attention_mask": [[0, 1, 1, 1, 1, 0], [1]],
            "position_ids": [[0, 0, 1, 0, 1, 2], [0]]}"#,
        10,
    )
    .expect("valid");
    assert_eq!(rows[0].batch.ids, [5, 6, 7, 8]);
    assert_eq!(rows[0].batch.positions, [0, 1, 0, 1]);
    assert_eq!(rows[0].batch.targets, [6, -100, 8, -100]);
    assert_eq!(rows[0].batch.segments, [0..2, 2..4]);
    assert_eq!((rows[0].places.as_slice(), rows[0].n_given), (&[1, 2, 3, 4][..], 6));
    assert_eq!(rows[1].batch.n_supervised(), 0);
}

#[test]
fn labels_of_ids_say_what_is_scored() {
    let rows = ids::parse(r#"{"input_ids": [[1, 2, 3]], "labels": [[-100, -100, 3]]}"#, 10).expect("valid");
    assert_eq!(rows[0].batch.targets, [-100, 3, -100]);
}

#[test]
fn documents_of_ids_that_contradict_themselves_are_refused() {
    for (document, expected) in [
        ("[]", "the document of ids can't be read: "),
        (r#"{"input_ids": [[1]], "mask": []}"#, "the document of ids can't be read: unknown field `mask`"),
        (r#"{"input_ids": [[1.5]]}"#, "the document of ids can't be read: "),
        (r#"{"input_ids": []}"#, "`input_ids` has no rows"),
        (r#"{"input_ids": [[1]], "labels": []}"#, "`labels` has 0 rows, `input_ids` has 1"),
        (r#"{"input_ids": [[1], []]}"#, "row 1 has no tokens"),
        (r#"{"input_ids": [[1, 2]], "position_ids": [[0]]}"#, "row 0 has 1 `position_ids` for 2 tokens"),
        (r#"{"input_ids": [[1, 10]]}"#, "row 0 has the id 10 at place 1; the vocabulary has 10 ids from 0"),
        (r#"{"input_ids": [[-1]]}"#, "row 0 has the id -1 at place 0; the vocabulary has 10 ids from 0"),
        (
            r#"{"input_ids": [[1]], "labels": [[-1]]}"#,
            "row 0 has the label -1 at place 0; expected an id below 10, or -100",
        ),
        (r#"{"input_ids": [[1]], "position_ids": [[-1]]}"#, "row 0 has the position -1; expected 0 or more"),
        (
            r#"{"input_ids": [[1, 1, 1]], "attention_mask": [[1, 0, 1]]}"#,
            "row 0 has an `attention_mask` with a hole at place 1",
        ),
        (r#"{"input_ids": [[1]], "attention_mask": [[0]]}"#, "row 0 has only padding"),
        (r#"{"input_ids": [[1]], "attention_mask": [[2]]}"#, "row 0 has 2 at place 0 of `attention_mask`"),
    ] {
        let problems = ids::parse(document, 10).expect_err("refused");
        assert!(problems[0].starts_with(expected), "{document}: {problems:?}");
    }
    let problems = ids::read(std::path::Path::new("missing.json"), 10).expect_err("refused");
    assert!(problems[0].message.starts_with("the file can't be read: "));
}
