use ftl_core::job::{Job, Phase, Progress, State};
use ftl_core::system::{GpuReading, Gpus};

use super::fake::Fake;
use super::{id, job, run, stepped};

fn gpu() -> Gpus {
    Gpus::Present {
        driver_version: "570.1".to_owned(),
        gpus: vec![GpuReading {
            index: 0,
            uuid: "GPU-1".to_owned(),
            name: "NVIDIA Abacus".to_owned(),
            compute_capability: Some("9.0".to_owned()),
            memory_total_bytes: 16 << 30,
            memory_used_bytes: 4 << 30,
            utilization_percent: Some(87),
            temperature_celsius: None,
            power_watts: Some(250.4),
        }],
    }
}

#[test]
fn status_tells_service_machine_and_work() {
    let fake = Fake::start();
    fake.world().gpus = Some(gpu());
    fake.world().add(job(1, "done", State::Succeeded));
    let progress = Progress { step: 5, total_steps: Some(10), loss_nats: Some(2.0), ..Progress::default() };
    fake.world().add(Job { progress, phase: Some(Phase::Training), ..job(2, "now", State::Running) });
    fake.world().add(job(3, "next", State::Queued));
    fake.append(&id(2), (1..=5).map(|step| stepped(step, 2.0)));
    let ran = run(&fake, &["status"]).ended(0);
    for part in [
        "server   9.8.7, pid 4321, up ",
        "data     /data/finetunelab (5.0 GiB free)\n",
        "         database 3.0 MiB, jobs 7.0 GiB, datasets 1.0 MiB\n",
        "machine  Abacus 3000, 16 threads, 64.0 GiB memory (32.0 GiB available)\n",
        "GPU      cuda:0 NVIDIA Abacus, 4.0 GiB of 16.0 GiB, 87 %\n",
        "jobs     1 QUEUED, 1 RUNNING, 1 SUCCEEDED\n",
    ] {
        assert!(ran.stdout.contains(part), "no `{part}`: {ran:?}");
    }
    let row = ran.stdout.lines().find(|line| line.contains("now")).expect("the job that runs");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, [id(2).as_str(), "now", "RUNNING", "training", "5/10", "2.0000", "0.0", "s"]);
    assert!(!ran.stdout.contains("done"), "{ran:?}");
    let document = run(&fake, &["status", "--json"]).ended(0).json();
    assert_eq!(document["system"]["pid"], 4321);
    assert_eq!(document["gpus"]["kind"], "present");
    assert_eq!(document["jobs"][1]["eta_n_steps_measured"], 5);
    assert!(document["jobs"][0].get("eta_millis").is_none(), "one that waits has none");
}

#[test]
fn status_of_an_idle_machine_without_a_gpu() {
    let fake = Fake::start();
    let ran = run(&fake, &["status"]).ended(0);
    assert!(ran.stdout.contains("GPU      none: no driver\n"), "{ran:?}");
    assert!(ran.stdout.ends_with("jobs     none\n"), "{ran:?}");
}

#[test]
fn gpus_are_a_table() {
    let fake = Fake::start();
    assert_eq!(run(&fake, &["gpus"]).ended(0).stdout, "no NVIDIA GPU: no driver\n");
    fake.world().gpus = Some(gpu());
    let ran = run(&fake, &["gpus"]).ended(0);
    assert!(ran.stdout.contains("cuda:0  NVIDIA Abacus  4.0 GiB of 16.0 GiB  87 %"), "{ran:?}");
    assert!(ran.stdout.contains("250 W") && ran.stdout.ends_with("driver 570.1\n"), "{ran:?}");
    let document = run(&fake, &["gpus", "--json"]).ended(0).json();
    assert_eq!(document["gpus"]["gpus"][0]["utilization_percent"], 87);
}

#[test]
fn gpus_are_read_again_and_again() {
    let fake = Fake::start();
    let ran = run(&fake, &["gpus", "--watch", "--interval-millis", "200", "--json"]).ended(0);
    assert_eq!(ran.stdout.lines().count(), 2, "the fake gives two readings: {ran:?}");
    let ran = run(&fake, &["gpus", "--watch", "--interval-millis", "5"]).ended(2);
    assert_eq!(ran.stderr, "error: interval_millis: the interval is too short\n");
    run(&fake, &["gpus", "--interval-millis", "200"]).ended(2);
}
