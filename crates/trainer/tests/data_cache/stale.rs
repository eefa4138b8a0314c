//! A cache that looks at less than the content is stale one day.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use ftl_core::spec::resolved::Eval;

use ftl_core::StopSignal;
use ftl_trainer::data::load::prepare;

use crate::job::{Job, rows};

#[test]
fn the_second_run_tokenizes_nothing_and_has_the_same_samples() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut job = Job::of(dir.path());
    let fresh = job.fresh();
    assert_eq!(job.get(), (fresh.clone(), false));
    assert_eq!(job.kept().len(), 1);
    assert_eq!(job.get(), (fresh, true));

    // What is held out, and by which seed, is not tokenized again.
    for seed in [1, 2] {
        (job.data.eval, job.seed) = (Eval::Fraction(0.2), seed);
        let fresh = job.fresh();
        assert!(fresh.eval.len() > 100);
        assert_eq!(job.get(), (fresh, true));
    }
    job.data.eval = Eval::File(job.dir.join("eval.jsonl"));
    let fresh = job.fresh();
    assert_eq!(fresh.eval.len(), 20);
    assert_eq!(job.get(), (fresh.clone(), false));
    assert_eq!(job.get(), (fresh, true));
}

#[test]
fn prompts_and_notes_come_from_the_cache_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut job = Job::of(dir.path());
    (job.data.eval, job.n_prompts, job.max_length) = (Eval::Fraction(0.3), 3, 30);
    let fresh = job.fresh();
    assert_eq!((fresh.prompts.len(), fresh.notes.len()), (3, 1), "{:?}", fresh.notes);
    assert_eq!(job.get(), (fresh.clone(), false));
    assert_eq!(job.get(), (fresh, true));
    job.seed = 7;
    let other = job.fresh();
    assert_eq!(job.get(), (other.clone(), false));
    assert_eq!(job.get(), (other, true));
}

/// The pitfall: a cache keyed by the number of rows, or by name, size and time of the file.
#[test]
fn one_changed_byte_is_tokenized_again_though_rows_size_time_and_inode_are_as_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let job = Job::of(dir.path());
    let path = job.dir.join("train.jsonl");
    let before = fs::metadata(&path).expect("a file");
    let (old, _) = job.get();

    let text = fs::read_to_string(&path).expect("text").replacen("train 700?", "train 70O?", 1);
    fs::write(&path, &text).expect("written");
    let file = File::options().write(true).open(&path).expect("a file");
    file.set_modified(before.modified().expect("a time")).expect("set");
    let after = fs::metadata(&path).expect("a file");
    let known = |of: &fs::Metadata| (of.len(), of.modified().expect("a time"), of.ino());
    assert_eq!(known(&before), known(&after));
    assert_eq!(text.lines().count(), 1500);

    let (new, is_cached) = job.get();
    assert!(!is_cached);
    assert_eq!(new, job.fresh());
    assert_ne!(new.train.get(700), old.train.get(700));
    assert_eq!(new.train.get(701), old.train.get(701));

    // Put back, the first tokens are found again.
    fs::write(&path, rows(1500, "train")).expect("written");
    assert_eq!(job.get(), (old, true));
}

#[test]
fn data_that_change_while_they_are_read_are_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let job = Job::of(dir.path());
    let mut notes = Vec::new();
    let path = job.dir.join("train.jsonl");
    let mut observer = |event: &ftl_core::Event| match event {
        ftl_core::Event::Phase { .. } => fs::write(&path, rows(1500, "other")).expect("written"),
        ftl_core::Event::Note { message, .. } => notes.push(message.clone()),
        _ => {}
    };
    job.with(|request| prepare(request, &mut observer, &StopSignal::new())).expect("samples");
    assert_eq!(notes, ["the data changed while they were read, so their tokens are not kept"]);
    assert_eq!(job.kept().len(), 0);
    assert_eq!(job.get(), (job.fresh(), false));
}
