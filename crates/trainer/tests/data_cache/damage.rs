//! Files that are not what was written, and places that can't be written to.

use std::fs;
use std::time::{Duration, SystemTime};

use ftl_core::event::NoteLevel;
use ftl_trainer::data::cache::{Cache, Found};
use ftl_trainer::data::sample::{IGNORED, Sample};
use ftl_trainer::data::samples::{Key, Origin, Samples};

use crate::job::{Job, files};

const KEY: Key = Key([7; 32]);

fn samples() -> Vec<Sample> {
    let text = Sample::new(vec![1, 2, 3, 4], vec![IGNORED, 2, 3, IGNORED]);
    let own = Sample::new(vec![5, 6], vec![9, IGNORED]);
    let weighted = Sample { weights: Some(vec![0.5, 1.0].into()), ..own.clone() };
    vec![text.clone(), Sample::pair(text, weighted), own]
}

fn keep(cache: &Cache, key: &Key, samples: &[Sample]) -> (Samples, Vec<String>) {
    let mut writer = cache.writer();
    for sample in samples {
        writer.push(sample, Origin { row: 3, file_index: 1, ..Origin::default() });
    }
    cache.keep(key, writer.finish(key, b"about").expect("written"))
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = Cache::Dir { path: dir.path().to_owned(), limit_bytes: 1 << 20 };
    keep(&cache, &KEY, &samples());
    let path = files(dir.path()).pop().expect("a file");
    let good = fs::read(&path).expect("bytes");
    let try_with = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).expect("written");
        match cache.find(&KEY) {
            Found::Damaged(message) => {
                assert!(message.ends_with("the data are tokenized again"), "{message}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert!(!path.exists(), "a damaged file goes");
    };
    for place in 0..good.len() {
        let mut bytes = good.clone();
        for bit in [0, place % 7 + 1] {
            bytes[place] = good[place] ^ (1 << bit);
            try_with(&bytes, &format!("bit {bit} of byte {place}"));
        }
    }
    for length in 0..good.len() {
        try_with(&good[..length], &format!("{length} bytes"));
    }
    try_with(&[&good[..], b"x"].concat(), "one byte more");
    fs::write(&path, &good).expect("written");
    let Found::Samples(found) = cache.find(&KEY) else { panic!("the good one is used") };
    assert_eq!(found, samples()[..]);
    assert_eq!(found.about(), b"about");
    assert_eq!(found.origin(2), Origin { row: 3, file_index: 1, ..Origin::default() });

    // The file of another key under this name.
    let other = Key([8; 32]);
    keep(&cache, &other, &samples()[..1]);
    let other_path = files(dir.path()).into_iter().find(|file| *file != path).expect("another file");
    fs::rename(other_path, &path).expect("renamed");
    assert!(matches!(cache.find(&KEY), Found::Damaged(_)));
    assert!(matches!(cache.find(&KEY), Found::Nothing));
}

#[test]
fn a_run_over_a_damaged_file_says_so_and_makes_it_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let job = Job::of(dir.path());
    let (fresh, _) = job.get();
    let path = job.kept().pop().expect("a file");
    let mut bytes = fs::read(&path).expect("bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, &bytes).expect("written");
    let (prepared, notes) = job.prepare().expect("samples");
    assert_eq!(prepared, fresh);
    let [(NoteLevel::Warning, note)] = &notes[..] else { panic!("{notes:?}") };
    assert!(
        note.contains(
            "is damaged: its bytes do not have the hash that they had; the data are tokenized again"
        )
    );
    assert_eq!(job.get(), (fresh, true));
}

#[test]
fn a_place_that_can_not_be_written_to_costs_no_more_than_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut job = Job::of(dir.path());
    let fresh = job.fresh();
    // A file where the directory should be; root may write everywhere else.
    let path = job.dir.join("train.jsonl").join("cache");
    job.cache = Cache::Dir { path, limit_bytes: 1 << 20 };
    let (prepared, notes) = job.prepare().expect("samples");
    assert_eq!(prepared, fresh);
    let [(NoteLevel::Warning, note)] = &notes[..] else { panic!("{notes:?}") };
    assert!(note.starts_with("tokenized data can't be kept in `"), "{note}");
    assert!(note.ends_with("; the next run makes them again"), "{note}");
}

#[test]
fn what_was_not_used_for_the_longest_time_goes_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_owned();
    let roomy = Cache::Dir { path: path.clone(), limit_bytes: 1 << 30 };
    let key = |number: u8| Key([number; 32]);
    for number in 0..4 {
        keep(&roomy, &key(number), &samples());
    }
    let n_bytes = roomy.size_bytes() / 4;
    // Used in the order 2, 0, 3, 1.
    for (age_secs, number) in [(100, 1_u8), (200, 3), (300, 0), (400, 2)] {
        let name = format!("{number:02x}").repeat(32);
        let file = fs::File::options().write(true).open(path.join(name).with_extension("samples"));
        let time = SystemTime::now() - Duration::from_secs(age_secs);
        file.expect("a file").set_modified(time).expect("set");
    }
    let Found::Samples(mapped) = roomy.find(&key(2)) else { panic!("kept") };
    // Left by a killed process, and something that is not ours.
    fs::write(path.join(".draft-1-2-3"), b"half").expect("written");
    fs::write(path.join("notes.txt"), b"mine").expect("written");
    let tight = Cache::Dir { path: path.clone(), limit_bytes: 3 * n_bytes };
    keep(&tight, &key(9), &samples());
    let is_kept = |number: u8| matches!(tight.find(&key(number)), Found::Samples(_));
    assert_eq!([0, 1, 2, 3, 9].map(is_kept), [false, true, true, false, true]);
    assert!(!path.join(".draft-1-2-3").exists() && path.join("notes.txt").exists());
    assert!(tight.size_bytes() <= 3 * n_bytes);

    // One that is larger than the limit is not kept, and can be used all the same.
    let none = Cache::Dir { path, limit_bytes: n_bytes - 1 };
    let (own, notes) = keep(&none, &key(10), &samples());
    assert_eq!((own, notes), (samples().into(), Vec::new()));
    assert_eq!(none.size_bytes(), 0);
    assert_eq!(mapped, samples()[..], "what is mapped stays readable");
}
