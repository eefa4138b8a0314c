//! Checkpoints: there whole or not at all, and any change to one is noticed.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod files_support;

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use ftl_core::{Problem, ProblemKind};
use ftl_trainer::checkpoint::layout::{self, FINAL, MANIFEST_JSON, checkpoint_name, step_of};
use ftl_trainer::checkpoint::{
    Pinning, Removal, list, newest_valid, pin, remove_leftovers, retain_newest, save, set_aside, take_away,
    unpin, verify,
};
use ftl_trainer::error::TrainError;
use ftl_trainer::model::tensor_file::{TensorFile, TensorSpec, write_f32};
use proptest::prelude::*;
use tempfile::TempDir;

fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec { name: "moment1.a".to_owned(), shape: vec![3, 5] },
        TensorSpec { name: "moment2.a".to_owned(), shape: vec![3, 5] },
        TensorSpec { name: "empty".to_owned(), shape: vec![0, 7] },
        TensorSpec { name: "scalar".to_owned(), shape: vec![] },
    ]
}

fn numbers(spec: &TensorSpec, seed: u64) -> Vec<f32> {
    (0..spec.n_elements()).map(|i| (seed as f32 + 0.25) * i as f32 - 1e-30).collect()
}

fn fill(dir: &Path, seed: u64) -> Result<(), TrainError> {
    write_f32(&dir.join(layout::OPTIMIZER_SAFETENSORS), &specs(), |spec| {
        Ok(Cow::Owned(numbers(spec, seed)))
    })?;
    let state = dir.join(layout::FTL_STATE_JSON);
    fs::write(&state, format!("{{\"step\": {seed}}}\n")).map_err(TrainError::file("write", &state))?;
    let folder = dir.join("additional_chat_templates");
    fs::create_dir(&folder).map_err(TrainError::file("create", &folder))?;
    fs::write(folder.join("tools.jinja"), "{{ messages }}").map_err(TrainError::file("write", &folder))?;
    fs::write(dir.join("empty.txt"), "").map_err(TrainError::file("write", dir))
}

fn saved(out: &Path, step: u64) -> PathBuf {
    save(out, &checkpoint_name(step), |dir| fill(dir, step)).unwrap().path
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn read_step(dir: &Path) -> String {
    fs::read_to_string(dir.join(layout::FTL_STATE_JSON)).unwrap()
}

#[test]
fn saved_checkpoint_is_whole_and_says_what_it_holds() {
    let out = TempDir::new().unwrap();
    let saved = save(out.path(), &checkpoint_name(5), |dir| fill(dir, 5)).unwrap();
    assert_eq!(names(out.path()), ["checkpoint-5"]);
    let manifest = verify(&saved.path).unwrap();
    let listed: Vec<_> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        listed,
        ["additional_chat_templates/tools.jinja", "empty.txt", "ftl_state.json", "optimizer.safetensors"]
    );
    // SHA-256 of nothing, FIPS 180-4.
    assert_eq!(manifest.files[1].sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let n_bytes: u64 = files(&saved.path).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(saved.n_bytes, n_bytes);
}

#[test]
fn tensors_come_back_bit_for_bit() {
    let out = TempDir::new().unwrap();
    let open = |path: &Path| {
        let file = TensorFile::open(&path.join(layout::OPTIMIZER_SAFETENSORS), ProblemKind::BrokenCheckpoint)
            .unwrap();
        file.expect(&specs()).unwrap();
        file
    };
    let (five, six) = (open(&saved(out.path(), 5)), open(&saved(out.path(), 6)));
    for spec in specs() {
        let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(five.read_f32(&spec.name)), bits(numbers(&spec, 5)));
    }
    assert_ne!(five.read_f32("moment1.a"), six.read_f32("moment1.a"));
}

#[test]
fn tensors_of_another_shape_are_refused() {
    let out = TempDir::new().unwrap();
    let path = saved(out.path(), 5).join(layout::OPTIMIZER_SAFETENSORS);
    let file = TensorFile::open(&path, ProblemKind::BrokenCheckpoint).unwrap();
    let mut other = specs();
    other[0].shape = vec![5, 3];
    other[1].name = "moment2.b".to_owned();
    let problems = file.expect(&other).unwrap_err();
    let message = files_support::text(&problems);
    assert!(message.contains("`moment1.a` has shape [3, 5], expected [5, 3]"), "{message}");
    assert!(message.contains("tensor `moment2.b` is missing"), "{message}");
    assert!(message.contains("has a tensor `moment2.a` that does not belong there"), "{message}");
    assert!(problems.iter().all(|problem| problem.kind == ProblemKind::BrokenCheckpoint));
}

#[test]
fn any_bit_flipped_in_any_file_is_noticed() {
    let out = TempDir::new().unwrap();
    let dir = saved(out.path(), 5);
    let mut n_flips = 0;
    for file in files(&dir) {
        let intact = fs::read(&file).unwrap();
        let is_manifest = file.ends_with(MANIFEST_JSON);
        for index in 0..intact.len() {
            // Hashes see every bit alike; the manifest has to be caught by its text.
            for bit in if is_manifest { 0..8 } else { index % 8..index % 8 + 1 } {
                let mut flipped = intact.clone();
                flipped[index] ^= 1 << bit;
                fs::write(&file, &flipped).unwrap();
                let problem = verify(&dir).expect_err("a flipped bit");
                assert_eq!(problem.kind, ProblemKind::BrokenCheckpoint);
                n_flips += 1;
            }
        }
        fs::write(&file, &intact).unwrap();
        verify(&dir).unwrap();
    }
    assert!(n_flips > 3_000, "{n_flips}");
}

#[test]
fn any_file_cut_at_any_length_is_noticed() {
    let out = TempDir::new().unwrap();
    let dir = saved(out.path(), 5);
    for file in files(&dir) {
        let intact = fs::read(&file).unwrap();
        for length in 0..intact.len() {
            fs::write(&file, &intact[..length]).unwrap();
            verify(&dir).expect_err("a cut file");
        }
        fs::write(&file, &intact).unwrap();
    }
    verify(&dir).unwrap();
}

#[test]
fn each_damage_is_named_and_the_previous_checkpoint_is_used() {
    type Damage = fn(&Path);
    let cases: [(Damage, &str); 9] = [
        (
            |dir| fs::remove_file(dir.join("ftl_state.json")).unwrap(),
            "checkpoint-20: `ftl_state.json` is missing",
        ),
        (
            |dir| fs::write(dir.join("ftl_state.json"), "{\"step\": 21}\n").unwrap(),
            "`ftl_state.json` was changed after it was written",
        ),
        (
            |dir| fs::write(dir.join("ftl_state.json"), "").unwrap(),
            "`ftl_state.json` has 0 bytes, but 13 were written",
        ),
        (|dir| fs::write(dir.join("empty.txt"), "x").unwrap(), "`empty.txt` has 1 bytes, but 0 were written"),
        (|dir| fs::write(dir.join("more.txt"), "x").unwrap(), "`more.txt` was not there when it was written"),
        (
            |dir| fs::remove_file(dir.join(MANIFEST_JSON)).unwrap(),
            "has no `MANIFEST.json`: it was not saved to the end",
        ),
        (|dir| fs::write(dir.join(MANIFEST_JSON), "{").unwrap(), "its `MANIFEST.json` is damaged: EOF"),
        (
            |dir| {
                let path = dir.join(MANIFEST_JSON);
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text.replace("  ", " ")).unwrap();
            },
            "its `MANIFEST.json` is damaged: it was changed after it was written",
        ),
        (
            |dir| {
                fs::remove_dir_all(dir).unwrap();
                fs::write(dir, "a file").unwrap();
            },
            "MANIFEST.json`: Not a directory",
        ),
    ];
    for (damage, expected) in cases {
        let out = TempDir::new().unwrap();
        let (old, new) = (saved(out.path(), 10), saved(out.path(), 20));
        let intact = newest_valid(out.path()).unwrap();
        assert_eq!((intact.newest.unwrap().path, intact.damaged.len()), (new.clone(), 0));
        damage(&new);
        let found = newest_valid(out.path()).unwrap();
        let newest = found.newest.unwrap();
        assert_eq!((newest.step, newest.path), (10, old));
        assert_eq!(found.damaged.len(), 1);
        assert_eq!(found.damaged[0].checkpoint.step, 20);
        let message = found.damaged[0].problem.to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn link_in_a_checkpoint_is_not_followed() {
    let out = TempDir::new().unwrap();
    let dir = saved(out.path(), 5);
    std::os::unix::fs::symlink("/etc/hostname", dir.join("link")).unwrap();
    let message = verify(&dir).unwrap_err().to_string();
    assert!(message.contains("link`: it is not a plain file"), "{message}");
}

#[test]
fn newest_is_by_number_and_foreign_names_are_left_alone() {
    let out = TempDir::new().unwrap();
    assert_eq!(newest_valid(&out.path().join("nowhere")).unwrap().newest, None);
    assert_eq!(newest_valid(out.path()).unwrap().newest, None);
    for step in [9, 100, 20] {
        saved(out.path(), step);
    }
    for name in
        ["checkpoint-", "checkpoint-007", "checkpoint-+7", "checkpoint-7.bak", ".tmp-checkpoint-900", "final"]
    {
        fs::create_dir(out.path().join(name)).unwrap();
    }
    let steps: Vec<_> = list(out.path()).unwrap().into_iter().map(|checkpoint| checkpoint.step).collect();
    assert_eq!(steps, [9, 20, 100]);
    assert_eq!(newest_valid(out.path()).unwrap().newest.unwrap().step, 100);
    assert_eq!(step_of("checkpoint-18446744073709551615"), Some(u64::MAX));
    assert_eq!(step_of("checkpoint-18446744073709551616"), None);
}

#[test]
fn failed_save_leaves_nothing_and_keeps_what_was_there() {
    let out = TempDir::new().unwrap();
    saved(out.path(), 5);
    for name in [checkpoint_name(5), checkpoint_name(6)] {
        let error = save(out.path(), &name, |dir| {
            fill(dir, 99)?;
            Err(TrainError::file("write", dir)(io::ErrorKind::StorageFull.into()))
        })
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("can't write `{}", out.path().join(format!(".tmp-{name}")).display())),
            "{error}"
        );
    }
    assert_eq!(names(out.path()), ["checkpoint-5"]);
    verify(&out.path().join("checkpoint-5")).unwrap();
    assert_eq!(read_step(&out.path().join("checkpoint-5")), "{\"step\": 5}\n");
}

#[test]
fn panic_while_filling_leaves_nothing() {
    let out = TempDir::new().unwrap();
    let path = out.path().to_owned();
    let ended = std::panic::catch_unwind(|| save(&path, FINAL, |_| panic!("a bug")));
    assert!(ended.is_err());
    assert!(names(out.path()).is_empty());
}

#[test]
fn final_and_checkpoints_are_replaced_whole() {
    let out = TempDir::new().unwrap();
    for name in [FINAL.to_owned(), checkpoint_name(7)] {
        for seed in [1, 2, 3] {
            let saved = save(out.path(), &name, |dir| fill(dir, seed)).unwrap();
            verify(&saved.path).unwrap();
            assert_eq!(read_step(&saved.path), format!("{{\"step\": {seed}}}\n"));
        }
    }
    assert_eq!(names(out.path()), ["checkpoint-7", "final"]);
}

#[test]
fn leftovers_are_removed_and_foreign_files_are_not() {
    let out = TempDir::new().unwrap();
    saved(out.path(), 5);
    for name in [".tmp-checkpoint-6", ".tmp-final", ".tmp-removed-checkpoint-4", ".tmp-retired-checkpoint-5"]
    {
        fs::create_dir(out.path().join(name)).unwrap();
        fs::write(out.path().join(name).join("half"), "x").unwrap();
    }
    for name in [".tmp-mine", "checkpoint-x", ".tmp-checkpoint-x"] {
        fs::create_dir(out.path().join(name)).unwrap();
    }
    // The process ended after the old `final` was moved aside and before the new one took its place.
    save(out.path(), FINAL, |dir| fill(dir, 8)).unwrap();
    fs::rename(out.path().join(FINAL), out.path().join(".tmp-retired-final")).unwrap();

    remove_leftovers(out.path()).unwrap();
    assert_eq!(
        names(out.path()),
        [".tmp-checkpoint-x", ".tmp-mine", "checkpoint-5", "checkpoint-x", "final"]
    );
    verify(&out.path().join(FINAL)).unwrap();
    verify(&out.path().join("checkpoint-5")).unwrap();
    remove_leftovers(&out.path().join("nowhere")).unwrap();
}

#[test]
fn half_written_directory_of_an_earlier_process_does_not_disturb() {
    let out = TempDir::new().unwrap();
    fs::create_dir(out.path().join(".tmp-checkpoint-5")).unwrap();
    fs::write(out.path().join(".tmp-checkpoint-5/old"), "x").unwrap();
    let path = saved(out.path(), 5);
    assert!(!path.join("old").exists());
    verify(&path).unwrap();
}

#[test]
fn newest_checkpoints_are_kept_and_protected_ones_too() {
    let steps =
        |out: &Path| list(out).unwrap().into_iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>();
    let cases: [(u64, &[u64], &[u64]); 5] = [
        (2, &[], &[100, 200]),
        (2, &[9], &[9, 100, 200]),
        (0, &[], &[]),
        (0, &[200], &[200]),
        (u64::MAX, &[], &[9, 10, 100, 200]),
    ];
    for (n_kept, protected, kept) in cases {
        let out = TempDir::new().unwrap();
        for step in [200, 9, 100, 10] {
            saved(out.path(), step);
        }
        let protected: Vec<_> =
            protected.iter().map(|step| out.path().join(checkpoint_name(*step))).collect();
        let mut deleted = Vec::new();
        retain_newest(out.path(), n_kept, &protected, &mut |checkpoint| {
            assert!(!checkpoint.path.exists(), "it is told of when it has lost its name");
            deleted.push(checkpoint.path.clone());
        })
        .unwrap();
        assert_eq!(steps(out.path()), kept);
        assert_eq!(deleted.len() + kept.len(), 4);
        assert_eq!(names(out.path()).len(), kept.len());
        assert!(deleted.iter().all(|path| !path.exists()));
    }
}

fn steps(out: &Path) -> Vec<u64> {
    list(out).unwrap().into_iter().map(|checkpoint| checkpoint.step).collect()
}

fn retain(out: &Path, n_kept: u64) {
    retain_newest(out, n_kept, &[], &mut |_| {}).unwrap();
}

#[test]
fn pinned_checkpoints_stay_do_not_count_and_are_as_they_were_written() {
    let out = TempDir::new().unwrap();
    for step in [10, 20, 30, 40] {
        saved(out.path(), step);
    }
    for step in [10, 30] {
        assert_eq!(pin(out.path(), step).unwrap(), Pinning::Pinned);
    }
    retain(out.path(), 1);
    assert_eq!(steps(out.path()), [10, 30, 40]);
    verify(&out.path().join("checkpoint-10")).unwrap();
    saved(out.path(), 50);
    retain(out.path(), 1);
    assert_eq!(steps(out.path()), [10, 30, 50]);
    assert!(matches!(take_away(out.path(), "checkpoint-10").unwrap(), Removal::Pinned));
    unpin(out.path(), 10).unwrap();
    unpin(out.path(), 10).unwrap();
    retain(out.path(), 1);
    assert_eq!(steps(out.path()), [30, 50]);
    assert_eq!(names(out.path()), ["checkpoint-30", "checkpoint-30.pinned", "checkpoint-50"]);
    assert_eq!(pin(out.path(), 10).unwrap(), Pinning::Absent);
    assert_eq!(names(out.path()).len(), 3, "no pin of what is not there");
}

#[test]
fn pin_that_was_said_to_be_there_holds_whenever_it_comes() {
    let out = TempDir::new().unwrap();
    let (mut n_held, mut n_late) = (0, 0);
    for step in 1..=300 {
        // Empty ones: what counts is the order of renaming and looking.
        fs::create_dir(out.path().join(checkpoint_name(step))).unwrap();
        let path = out.path().to_owned();
        let deleter = std::thread::spawn(move || match take_away(&path, &checkpoint_name(step)).unwrap() {
            Removal::Taken(removing) => removing.finish().unwrap(),
            Removal::Pinned | Removal::Absent => {}
        });
        let pinning = pin(out.path(), step).unwrap();
        deleter.join().unwrap();
        match pinning {
            Pinning::Pinned => {
                assert!(out.path().join(checkpoint_name(step)).is_dir(), "step {step}");
                n_held += 1;
            }
            Pinning::Absent => n_late += 1,
        }
    }
    println!("{n_held} pins held, {n_late} came too late");
    assert!(names(out.path()).iter().all(|name| !name.starts_with(".tmp-")));
}

#[test]
fn process_that_dies_while_it_deletes_a_checkpoint_that_is_pinned_meanwhile_loses_nothing() {
    let out = TempDir::new().unwrap();
    for step in [10, 20] {
        saved(out.path(), step);
        // As `take_away` leaves it when the process ends behind its first renaming.
        let path = out.path().join(checkpoint_name(step));
        fs::rename(&path, out.path().join(format!(".tmp-removed-checkpoint-{step}"))).unwrap();
    }
    fs::write(out.path().join("checkpoint-20.pinned"), "").unwrap();
    let removed = remove_leftovers(out.path()).unwrap();
    assert_eq!(removed.iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>(), [10]);
    assert_eq!(removed[0].path, out.path().join("checkpoint-10"));
    assert_eq!(names(out.path()), ["checkpoint-20", "checkpoint-20.pinned"]);
    verify(&out.path().join("checkpoint-20")).unwrap();
}

#[test]
fn damaged_checkpoints_are_set_aside_one_beside_the_other_and_can_be_deleted() {
    let out = TempDir::new().unwrap();
    let mut aside = Vec::new();
    for _ in 0..3 {
        saved(out.path(), 20);
        let checkpoint = list(out.path()).unwrap().remove(0);
        aside.push(set_aside(out.path(), &checkpoint).unwrap());
    }
    let expected = ["damaged-checkpoint-20", "damaged-checkpoint-20.2", "damaged-checkpoint-20.3"];
    assert_eq!(names(out.path()), expected);
    assert_eq!(steps(out.path()), [0; 0]);
    for name in expected {
        assert_eq!(layout::step_of_any(name), Some(20));
        // Nothing is lost of it.
        verify(&out.path().join(name)).unwrap();
    }
    for name in
        ["damaged-checkpoint-20.1", "damaged-checkpoint-20.02", "damaged-", "damaged-final", "final.2"]
    {
        assert_eq!(layout::step_of_any(name), None, "{name}");
    }
    retain(out.path(), 0);
    assert_eq!(names(out.path()), expected);
    match take_away(out.path(), expected[1]).unwrap() {
        Removal::Taken(removing) => removing.finish().unwrap(),
        other => panic!("{other:?}"),
    }
    assert!(matches!(take_away(out.path(), expected[1]).unwrap(), Removal::Absent));
    assert_eq!(names(out.path()), [expected[0], expected[2]]);
}

/// Run by [`full_disk_is_an_error_and_leaves_no_checkpoint`] in a process that may not write large files.
#[test]
#[ignore = "a child of another test"]
fn child_saves_a_large_checkpoint() {
    let out = PathBuf::from(std::env::var_os("FTL_TEST_OUT").unwrap());
    let large = [TensorSpec { name: "x".to_owned(), shape: vec![1 << 20] }];
    let error = save(&out, &checkpoint_name(2), |dir| {
        write_f32(&dir.join(layout::OPTIMIZER_SAFETENSORS), &large, |_| Ok(Cow::Owned(vec![1.0; 1 << 20])))
    })
    .unwrap_err();
    assert!(error.to_string().contains("can't write"), "{error}");
    assert!(error.to_string().contains("optimizer.safetensors"), "{error}");
    assert!(matches!(error, TrainError::File { action: "write", .. }));
}

#[cfg(unix)]
#[test]
fn full_disk_is_an_error_and_leaves_no_checkpoint() {
    let out = TempDir::new().unwrap();
    saved(out.path(), 1);
    // A limit on file sizes stands for a full disk: the same `write` fails, half way.
    let child = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 512; exec \"$0\" --exact child_saves_a_large_checkpoint --ignored",
        ])
        .arg(std::env::current_exe().unwrap())
        .env("FTL_TEST_OUT", out.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
    assert_eq!(names(out.path()), ["checkpoint-1"]);
    assert_eq!(newest_valid(out.path()).unwrap().newest.unwrap().step, 1);
}

/// Run by [`killed_process_leaves_only_whole_checkpoints`].
#[test]
#[ignore = "a child of another test"]
fn child_saves_until_it_is_killed() {
    let out = PathBuf::from(std::env::var_os("FTL_TEST_OUT").unwrap());
    for step in 1.. {
        saved(&out, step);
        save(&out, FINAL, |dir| fill(dir, step)).unwrap();
        retain_newest(&out, 2, &[], &mut |_| {}).unwrap();
    }
}

#[test]
fn killed_process_leaves_only_whole_checkpoints() {
    let out = TempDir::new().unwrap();
    let (mut n_kills, mut n_leftovers) = (0, 0);
    while n_kills < 20 || (n_leftovers == 0 && n_kills < 200) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_saves_until_it_is_killed", "--ignored"])
            .env("FTL_TEST_OUT", out.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while newest_valid(out.path()).unwrap().newest.is_none() {
            assert!(child.try_wait().unwrap().is_none(), "the child goes on");
        }
        std::thread::sleep(std::time::Duration::from_millis(60 + n_kills % 20 * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        n_kills += 1;

        n_leftovers += names(out.path()).iter().filter(|name| name.starts_with(".tmp-")).count();
        remove_leftovers(out.path()).unwrap();
        for name in names(out.path()) {
            verify(&out.path().join(name)).unwrap();
        }
    }
    assert!(n_leftovers > 0, "no kill hit an unfinished save");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the bytes are, opening them gives a file or a problem.
    #[test]
    fn no_bytes_make_a_tensor_file_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), header in "\\{(\"[a-z]\": ?\\{\"dtype\":\"F32\",\"shape\":\\[[0-9]{1,20}\\],\"data_offsets\":\\[[0-9]{1,20},[0-9]{1,20}\\]\\},?){0,3}\\}", framed: bool) {
        if framed {
            let mut file = (header.len() as u64).to_le_bytes().to_vec();
            file.extend(header.bytes());
            file.append(&mut bytes);
            bytes = file;
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.safetensors");
        fs::write(&path, bytes).unwrap();
        let opened: Result<TensorFile, Problem> = TensorFile::open(&path, ProblemKind::BrokenModel);
        if let Ok(file) = opened {
            let names: Vec<_> = file.names().map(str::to_owned).collect();
            for name in names {
                if file.unreadable_dtype(&name).is_none() {
                    file.read_f32(&name);
                }
            }
        }
    }
}
