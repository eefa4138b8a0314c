//! With a model: tokens, what the limit takes away, what is held out, and that the numbers are those of a run.

use ftl_core::dataset::{Code, Cut, DatasetReport};
use ftl_core::spec::resolved::{DataFormat, Eval, ExcessLength};
use ftl_core::{Event, JobSpec, StopReason, StopSignal};
use ftl_trainer::data::report::{CheckRequest, Fingerprint, ModelFiles, check, plain};
use ftl_trainer::train::{Begin, Outcome, train};
use serde_json::json;
use tempfile::TempDir;

use crate::{count, encoder, file, model, real_files, report_on, rows_with};

fn tokens(rows: &[Vec<u32>]) -> String {
    rows.iter().map(|ids| format!("{}\n", json!({ "input_ids": ids }))).collect()
}

#[test]
fn what_the_limit_takes_away_is_told_for_each_strategy() {
    let dir = TempDir::new().expect("a directory");
    // Lengths of 3, 6 and 9; the first token of each is never predicted.
    let rows: Vec<Vec<u32>> = [3, 6, 9].map(|n| (20..20 + n).collect()).into();
    let path = file(&dir, "rows.jsonl", &tokens(&rows));
    let encoder = encoder();
    for (strategy, rows, samples, cut, code) in [
        (ExcessLength::Error, (1, 2, 0), 1, (7, 7), Some(Code::TooLong)),
        (ExcessLength::Drop, (1, 0, 2), 1, (15, 13), Some(Code::Dropped)),
        (ExcessLength::Truncate, (3, 0, 0), 3, (7, 7), Some(Code::CutOff)),
        // Pieces of 4 and 2, of 4, 4 and 1; the last is one token that nothing predicts.
        (ExcessLength::Split, (3, 0, 0), 5, (1, 3), Some(Code::SplitUp)),
    ] {
        let mut data = plain([path.clone()], DataFormat::Auto);
        data.excess_length_strategy = strategy;
        let report = report_on(&data, Some(model(&encoder, &data, 4)));
        let found = report.rows;
        assert_eq!((found.accepted, found.rejected, found.dropped), rows, "{strategy:?}");
        let told = report.tokens.as_ref().expect("a model");
        assert_eq!(told.samples, samples, "{strategy:?}");
        assert_eq!((told.per_row.n, told.per_row.max, told.per_row.total), (3, 9, 18));
        let Cut { rows: longer, tokens, supervised_tokens, .. } = told.cut;
        assert_eq!((longer, tokens, supervised_tokens), (2, cut.0, cut.1), "{strategy:?}");
        assert_eq!(code.map(|code| rows_with(&report, code)), Some(vec![2, 3]), "{strategy:?}");
    }
}

#[test]
fn mask_coverage_is_the_share_of_learned_tokens() {
    let dir = TempDir::new().expect("a directory");
    let rows = "{\"input_ids\":[20,21,22,23],\"labels\":[-100,-100,22,23]}\n{\"input_ids\":[30,31],\"labels\":[-100,31]}\n";
    let data = plain([file(&dir, "rows.jsonl", rows)], DataFormat::Auto);
    let encoder = encoder();
    let tokens = report_on(&data, Some(model(&encoder, &data, 8))).tokens.expect("a model");
    assert_eq!((tokens.total, tokens.supervised), (6, 3));
    assert!((tokens.mask_coverage() - 0.5).abs() < 1e-9);
}

#[test]
fn rows_without_a_token_to_learn_are_counted_and_refused() {
    let dir = TempDir::new().expect("a directory");
    let rows = "{\"input_ids\":[20,21],\"labels\":[-100,-100]}\n{\"input_ids\":[30,31]}\n";
    let data = plain([file(&dir, "rows.jsonl", rows)], DataFormat::Auto);
    let encoder = encoder();
    let report = report_on(&data, Some(model(&encoder, &data, 8)));
    assert_eq!(rows_with(&report, Code::NothingToLearn), [1]);
    assert_eq!(report.tokens.expect("a model").rows_without_supervised, 1);
}

#[test]
fn rows_that_are_held_out_and_trained_on_are_found_by_text_and_by_tokens() {
    let dir = TempDir::new().expect("a directory");
    let train =
        "{\"prompt\":\"One two\",\"completion\":\"three\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}\n";
    let eval = concat!(
        "{\"completion\":\"three\",\"prompt\":\"One two\"}\n",
        "{\"prompt\":\"one  TWO\",\"completion\":\"three\"}\n",
        "{\"prompt\":\"something\",\"completion\":\"else\"}\n"
    );
    let mut data = plain([file(&dir, "train.jsonl", train)], DataFormat::Auto);
    data.eval = Eval::File(file(&dir, "eval.jsonl", eval));
    let report = report_on(&data, None);
    assert_eq!(rows_with(&report, Code::Overlap), [1, 2]);
    let held_out = report.held_out.expect("a file is held out");
    assert_eq!((held_out.train, held_out.eval, held_out.overlap), (2, 3, 2));
    assert_eq!(
        report.findings[0].message,
        "row 1 of `eval.jsonl` is held out for evaluation, and trained on as row 1 of `train.jsonl`"
    );
    // Another text, which the same tokens are made of.
    let encoder = encoder();
    let ids = encoder.tokenizer.encode("One two", ftl_trainer::data::tokenize::Around::Nothing).expect("ids");
    let mut data = plain([file(&dir, "ids.jsonl", &tokens(std::slice::from_ref(&ids)))], DataFormat::Auto);
    let labels: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    data.eval =
        Eval::File(file(&dir, "same.jsonl", &format!("{}\n", json!({"input_ids": ids, "labels": labels}))));
    assert_eq!(count(&report_on(&data, Some(model(&encoder, &data, 64))), Code::Overlap), 1);
}

#[test]
fn steps_and_samples_are_those_of_the_run() {
    let Some(dir) = real_files() else { return };
    let scratch = TempDir::new().expect("a directory");
    let rows: String = (0..23)
        .map(|n| format!("{}\n", json!({"text": format!("Once {n} cats sat. ").repeat(1 + n % 5)})))
        .collect();
    let path = file(&scratch, "rows.jsonl", &rows);
    for (packing, eval) in [(false, None), (true, None), (true, Some(0.3))] {
        let mut job = json!({
            "model": {"path": dir.join("models/stories260K")},
            "data": {"train": [path], "max_length": 64, "packing": packing},
            "method": {"kind": "sft"},
            "adapter": {"kind": "lora", "r": 2},
            "train": {"num_train_epochs": 1.5, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "save_steps": 0},
            "device": {"kind": "cpu"},
        });
        if let Some(fraction) = eval {
            job["data"]["eval"] = json!({ "fraction": fraction });
        }
        let spec = JobSpec::from_value(job).and_then(|job| job.check()).expect("a spec");
        let files = ModelFiles::of_job(&spec).expect("a model");
        let request = CheckRequest {
            data: &spec.data,
            model: Some(files.side(&spec.data)),
            train: Some(&spec.train),
            seed: spec.train.seed,
            fingerprint: Fingerprint::Absent,
        };
        let report = check(&request, &mut |_: &Event| {}, &StopSignal::new()).expect("a report");
        let steps = report.steps.expect("a run was described");

        let out = scratch.path().join(format!("run-{packing}-{}", eval.is_some()));
        let outcome =
            train(&spec, (&out, Begin::New), &mut |_: &Event| {}, &StopSignal::new()).expect("a run");
        let Outcome::Finished(summary) = outcome else { panic!("nobody stopped it") };
        assert_eq!(summary.steps, steps.total);
        assert!((steps.epochs - 1.5).abs() < 0.5, "{steps:?}");
        let written = std::fs::read(out.join("report.json")).expect("a report beside the run");
        let written: DatasetReport = serde_json::from_slice(&written).expect("a report");
        assert_eq!(written.steps, report.steps);
        assert_eq!(written.tokens, report.tokens);
        assert_eq!(written.held_out, report.held_out);
        assert_eq!(written.held_out.is_some_and(|held| held.eval > 0), eval.is_some());
    }
}

#[test]
fn a_run_that_is_stopped_while_it_reads_writes_nothing() {
    let Some(dir) = real_files() else { return };
    let scratch = TempDir::new().expect("a directory");
    let path = file(&scratch, "rows.jsonl", &"{\"text\":\"Once upon a time.\"}\n".repeat(60_000));
    let job = json!({
        "model": {"path": dir.join("models/stories260K")}, "data": {"train": [path]},
        "method": {"kind": "sft"}, "adapter": {"kind": "lora"}, "device": {"kind": "cpu"},
    });
    let spec = JobSpec::from_value(job).and_then(|job| job.check()).expect("a spec");
    let stop = StopSignal::new();
    let mut observer = |event: &Event| {
        if let Event::Phase { done: Some(_), .. } = event {
            stop.raise(StopReason::User);
        }
    };
    let out = scratch.path().join("run");
    let outcome = train(&spec, (&out, Begin::New), &mut observer, &stop).expect("no fault");
    assert_eq!(outcome, Outcome::Stopped { step: 0, checkpoint: None });
    assert!(!out.exists());
}
