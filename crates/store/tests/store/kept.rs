//! What is kept beside a job's events: answers to held-out prompts, and samples of GPUs.

use ftl_core::event::Sampled;
use ftl_core::job::{Prediction, State};
use ftl_core::system::{GpuSample, SampleFilter};
use ftl_core::{Event, JobId, PageRequest};
use ftl_store::{Store, StoreError};

use crate::given::{note, record, running, store, to};

fn sampled(step: u64, reference: Option<&str>) -> Event {
    Event::Sampled(Sampled {
        step,
        prompt: "what?".to_owned(),
        text: format!("that, at {step}\0"),
        reference: reference.map(str::to_owned),
    })
}

fn page(size: u32, token: Option<String>) -> PageRequest {
    PageRequest { page_size: size, page_token: token }
}

fn predictions(store: &Store, id: &JobId) -> Vec<Prediction> {
    store.predictions(id, &page(100, None)).wait().unwrap().items
}

#[test]
fn answers_are_listed_without_the_events_around_them() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let (other, _) = running(&given.store, 2);
    let records =
        vec![record(1, sampled(0, Some("this"))), record(2, note("n")), record(3, sampled(5, None))];
    given.store.append_events(&id, attempt.number, records.clone()).wait().unwrap();
    // What was kept before is passed over here too.
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let listed = predictions(&given.store, &id);
    assert_eq!(listed.iter().map(|prediction| prediction.seq).collect::<Vec<_>>(), [6, 4]);
    let Event::Sampled(first) = sampled(0, Some("this")) else { panic!("it was made above") };
    assert_eq!(listed[1].sampled, first);
    assert_eq!((listed[1].attempt, listed[1].time_unix_ms), (1, record(1, note("")).time_unix_ms));
    assert_eq!(listed[0].sampled.reference, None);
    // The event tells the same.
    let events = given.store.events_after(&id, 3, 1).wait().unwrap();
    assert_eq!(events[0].record.event, Event::Sampled(first));
    assert_eq!(predictions(&given.store, &other), []);

    let first = given.store.predictions(&id, &page(1, None)).wait().unwrap();
    let second = given.store.predictions(&id, &page(1, first.next_page_token.clone())).wait().unwrap();
    assert_eq!((first.items[0].seq, second.items[0].seq, second.next_page_token), (6, 4, None));
    let foreign = given.store.gpu_samples(&SampleFilter::default(), &page(1, first.next_page_token));
    assert!(matches!(foreign.wait(), Err(StoreError::BadPageToken)));
    let nobody = JobId::from_bits(9);
    assert!(matches!(given.store.predictions(&nobody, &page(1, None)).wait(), Err(StoreError::NotFound)));
}

fn sample(job: &JobId, time_unix_ms: u64, index: u32) -> GpuSample {
    GpuSample {
        job: job.clone(),
        time_unix_ms,
        index,
        uuid: format!("GPU-{index}"),
        memory_total_bytes: 80 << 30,
        memory_used_bytes: time_unix_ms,
        utilization_percent: Some(97),
        temperature_celsius: (index == 0).then_some(61),
        power_watts: (index == 0).then_some(300.5),
    }
}

#[test]
fn samples_are_found_by_job_and_time() {
    let given = store();
    let ((one, _), (other, _)) = (running(&given.store, 1), running(&given.store, 2));
    for time in 1..=10 {
        let samples = vec![sample(&one, time, 0), sample(&one, time, 1), sample(&other, time, 0)];
        given.store.append_gpu_samples(samples).wait().unwrap();
    }
    let find =
        |filter: &SampleFilter, size| given.store.gpu_samples(filter, &page(size, None)).wait().unwrap();
    assert_eq!(find(&SampleFilter::default(), 1_000).items.len(), 30);
    let of_one = SampleFilter { job: Some(one.clone()), ..SampleFilter::default() };
    let found = find(&of_one, 1_000).items;
    assert_eq!(found.len(), 20);
    assert_eq!((&found[0], &found[19]), (&sample(&one, 10, 1), &sample(&one, 1, 0)));
    let for_a_while = SampleFilter { from_unix_ms: Some(3), until_unix_ms: Some(5), ..of_one.clone() };
    let times: Vec<u64> = find(&for_a_while, 1_000).items.iter().map(|sample| sample.time_unix_ms).collect();
    assert_eq!(times, [4, 4, 3, 3]);
    let beyond = SampleFilter { from_unix_ms: Some(u64::MAX), ..SampleFilter::default() };
    assert_eq!(find(&beyond, 1_000).items, []);

    let first = find(&of_one, 15);
    let rest = given.store.gpu_samples(&of_one, &page(15, first.next_page_token)).wait().unwrap();
    assert_eq!((rest.items.len(), rest.next_page_token), (5, None));

    // They go with their job, and one that is late is no error.
    given.store.transition(&one, to(State::Cancelled)).wait().unwrap();
    given.store.delete_job(&one).wait().unwrap();
    let late = vec![sample(&one, 11, 0), sample(&other, 11, 0)];
    given.store.append_gpu_samples(late).wait().unwrap();
    let left = find(&SampleFilter::default(), 1_000).items;
    assert_eq!(left.len(), 11);
    assert!(left.iter().all(|sample| sample.job == other));
}
