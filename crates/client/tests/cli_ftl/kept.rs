//! What is kept beside jobs: answers, samples of GPUs, backups.

use ftl_core::event::Sampled;
use ftl_core::job::{Prediction, State};
use ftl_core::system::GpuSample;

use super::fake::Fake;
use super::{id, job, run};

#[test]
fn answers_are_printed_as_they_were_given() {
    let fake = Fake::start();
    fake.world().add(job(1, "one", State::Running));
    let answer = |seq, reference: Option<&str>| Prediction {
        seq,
        attempt: 1,
        time_unix_ms: 1,
        sampled: Sampled {
            step: seq * 1_000,
            prompt: "two\nlines".to_owned(),
            text: format!("answer {seq}\u{1b}"),
            reference: reference.map(str::to_owned),
        },
    };
    let ran = run(&fake, &["jobs", "predictions", "one"]).ended(0);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("has answered nothing"), "{ran:?}");
    fake.world().predictions = vec![answer(3, Some("right")), answer(2, None), answer(1, None)];
    let ran = run(&fake, &["jobs", "predictions", "one", "--limit", "2"]).ended(0);
    assert_eq!(
        ran.stdout,
        "step 2,000\n  prompt     two lines\n  answer     answer 2\u{fffd}\n\
         step 3,000\n  prompt     two lines\n  answer     answer 3\u{fffd}\n  reference  right\n"
    );
    assert!(ran.stderr.contains("there are older ones"), "{ran:?}");
    let document = run(&fake, &["jobs", "predictions", "one", "--json"]).ended(0).json();
    assert_eq!(document["predictions"][0]["text"], "answer 3\u{1b}");
    assert_eq!(document["has_more"], false);
}

#[test]
fn gpus_of_a_job_are_shown_as_they_were() {
    let fake = Fake::start();
    fake.world().add(job(1, "one", State::Running));
    fake.world().add(job(2, "two", State::Running));
    let sample = |number, power_watts| GpuSample {
        job: ftl_core::JobId::from_bits(number),
        time_unix_ms: number,
        index: 1,
        uuid: "GPU-1".to_owned(),
        memory_total_bytes: 16 << 30,
        memory_used_bytes: 4 << 30,
        utilization_percent: Some(87),
        temperature_celsius: None,
        power_watts,
    };
    fake.world().gpu_samples = vec![sample(1, Some(250.4)), sample(2, None), sample(1, None)];
    let ran = run(&fake, &["gpus", "--job", "one"]).ended(0);
    let rows: Vec<&str> = ran.stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), 2, "{ran:?}");
    assert!(
        rows[0].contains("cuda:1") && rows[0].contains("87 %") && rows[0].contains("4.0 GiB of 16.0 GiB")
    );
    assert!(rows[1].ends_with("250 W") && !rows[0].contains(" W"), "oldest first: {ran:?}");
    let document = run(&fake, &["gpus", "--job", id(2).as_str(), "--json"]).ended(0).json();
    assert_eq!(document["samples"].as_array().map(Vec::len), Some(1));
    run(&fake, &["gpus", "--job", "one", "--watch"]).ended(2);
}

#[test]
fn backup_is_asked_for_with_an_absolute_path() {
    let fake = Fake::start();
    let ran = run(&fake, &["backup", "copy.db"]).ended(0);
    assert!(ran.stdout.contains("copy.db holds the database as it is now (2.0 MiB)"), "{ran:?}");
    let asked = fake.world().backups.clone();
    assert!(std::path::Path::new(&asked[0]).is_absolute() && asked[0].ends_with("/copy.db"), "{asked:?}");
    let ran = run(&fake, &["backup", "copy.db", "--json"]).ended(2);
    assert_eq!(ran.json()["problem"]["kind"], "output_exists");
}
