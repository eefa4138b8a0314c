//! Processes that are killed, that do the same at once, and that hold little.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use ftl_trainer::data::cache::{Cache, Found};
use ftl_trainer::data::sample::Sample;
use ftl_trainer::data::samples::{Key, Origin};

use crate::job::{Job, files};

/// Says to this program, started by itself, what to do.
const TASK: &str = "FTL_TEST_TASK";
const DIR: &str = "FTL_TEST_DIR";
const KEY: Key = Key([5; 32]);
const BIG_SAMPLES: u32 = 3000;

fn start(task: &str, dir: &Path) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "processes::what_a_started_process_does", "--nocapture"])
        .env(TASK, task)
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

fn big(id: u32) -> Sample {
    // 64 KiB of ids, of which half is learned.
    let ids: Vec<u32> = (0..1 << 14).map(|place| id.wrapping_mul(31).wrapping_add(place) % 50_000).collect();
    let labels = ids.iter().enumerate().map(|(place, id)| if place % 100 < 50 { -100 } else { *id as i32 });
    Sample::new(ids.clone(), labels.collect())
}

fn cache_of(dir: &Path) -> Cache {
    Cache::Dir { path: dir.join("cache"), limit_bytes: 1 << 40 }
}

/// A test only where another one started it.
#[test]
fn what_a_started_process_does() {
    let (Ok(task), Ok(dir)) = (env::var(TASK), env::var(DIR)) else { return };
    let dir = Path::new(&dir);
    match task.as_str() {
        "write" => {
            let cache = cache_of(dir);
            let mut writer = cache.writer();
            for id in 0..BIG_SAMPLES {
                writer.push(&big(id), Origin::default());
                println!("wrote {id}");
            }
            let written = writer.finish(&KEY, &[]).expect("written");
            println!("finished");
            assert_eq!(cache.keep(&KEY, written).1, Vec::<String>::new());
        }
        "read" => {
            let Found::Samples(samples) = cache_of(dir).find(&KEY) else { panic!("not kept") };
            let mut n_tokens = 0;
            let mut peak = resident_bytes();
            let start = peak;
            for index in (0..samples.len()).rev() {
                n_tokens += samples.get(index).ids.len();
                peak = peak.max(resident_bytes());
            }
            println!("read {n_tokens} tokens, {start} bytes resident after opening, {peak} at most");
            assert_eq!(n_tokens, (BIG_SAMPLES as usize) << 14);
            assert!(samples.is_mapped() && start < 96 << 20 && peak < 96 << 20, "{start}, {peak}");
        }
        "prepare" => {
            let job = Job { cache: cache_of(dir), ..Job::of_files(dir) };
            assert_eq!(job.get().0, job.fresh());
        }
        other => panic!("no task {other}"),
    }
}

/// `VmRSS`: what is on the heap and what is mapped of files.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn a_killed_writer_leaves_nothing_that_is_used_and_what_it_leaves_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_of(dir.path());
    // While all is on the heap, while the file grows, and around its end.
    for line in ["wrote 0", "wrote 400", "wrote 1500", "wrote 2999", "finished"] {
        let mut child = start("write", dir.path());
        let output = BufReader::new(child.stdout.take().expect("output"));
        assert!(output.lines().any(|read| read.expect("a line").ends_with(line)), "{line}");
        child.kill().expect("killed");
        child.wait().expect("ended");
        match cache.find(&KEY) {
            Found::Nothing => {}
            // It may have been faster than the signal.
            Found::Samples(samples) if line == "finished" => assert_eq!(samples.get(7), big(7)),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(!files(&dir.path().join("cache")).is_empty(), "killed processes leave drafts");
    assert!(start("write", dir.path()).wait_with_output().expect("ended").status.success());
    assert_eq!(files(&dir.path().join("cache")).len(), 1, "the next writer removes them");

    // What it made is far more than a process holds that reads all of it.
    let Found::Samples(samples) = cache.find(&KEY) else { panic!("kept") };
    assert_eq!((samples.len(), samples.get(2)), (BIG_SAMPLES as usize, big(2)));
    assert!(cache.size_bytes() > 190 << 20);
    let read = start("read", dir.path()).wait_with_output().expect("ended");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stdout));
}

#[test]
fn processes_that_make_the_same_at_once_are_all_right() {
    let dir = tempfile::tempdir().expect("a directory");
    let job = Job::of(dir.path());
    let children: Vec<Child> = (0..6)
        .map(|number| {
            thread::sleep(Duration::from_millis(number * 15));
            start("prepare", dir.path())
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(job.kept().len(), 1);
    assert_eq!(job.get(), (job.fresh(), true));
}
