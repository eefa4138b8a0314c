//! The queue's order, and what jobs in it wait for.

use ftl_core::job::{Exit, Move, MoveTo, Parent, State, Waiting, WaitingReason};
use ftl_core::{Event, JobId, PageRequest};
use ftl_store::{AttemptEnd, Created, NewJob, Store, StoreError};
use proptest::prelude::*;

use crate::given::{created, created_in, new_job, record, running, saved, spec, store, to};

fn id(bits: u64) -> JobId {
    JobId::from_bits(bits)
}

fn order(store: &Store) -> Vec<JobId> {
    store.queue().wait().unwrap().into_iter().map(|queued| queued.id).collect()
}

fn moved(store: &Store, bits: u64, to: MoveTo) -> Result<Option<u64>, StoreError> {
    let change = Move { job: id(bits), to, from_place: None };
    store.move_job(change).wait().map(|job| job.queue_place)
}

fn gpu_busy() -> Waiting {
    Waiting { reason: WaitingReason::GpuBusy, message: "cuda:0 is in use by another job".to_owned() }
}

#[test]
fn jobs_queue_in_the_order_they_were_made_and_only_queued_ones_have_a_place() {
    let given = store();
    for (bits, state) in (1..).zip(State::ALL) {
        let job = created_in(&given.store, bits, state);
        assert_eq!(job.queue_place, (state == State::Queued).then_some(1), "{state}");
    }
    created(&given.store, 100);
    created(&given.store, 101);
    assert_eq!(order(&given.store), [id(1), id(100), id(101)]);
    let page = given.store.jobs(&PageRequest::default(), &[]).wait().unwrap();
    let places: Vec<(JobId, u64)> =
        page.items.into_iter().filter_map(|job| job.queue_place.map(|place| (job.id, place))).collect();
    assert_eq!(places, [(id(101), 3), (id(100), 2), (id(1), 1)]);
    assert_eq!(given.store.job(&id(101)).wait().unwrap().unwrap().queue_place, Some(3));
    given.store.begin_attempt(&id(1)).wait().unwrap();
    assert_eq!(given.store.job(&id(101)).wait().unwrap().unwrap().queue_place, Some(2));
}

#[test]
fn a_job_that_is_queued_again_comes_back_to_its_place() {
    let given = store();
    let (first, _) = running(&given.store, 1);
    created(&given.store, 2);
    let end = AttemptEnd { exit: Exit::Lost, log_tail: None, change: Some(to(State::Interrupted)) };
    given.store.end_attempt(&first, 1, end).wait().unwrap();
    let job = given.store.transition(&first, to(State::Queued)).wait().unwrap();
    assert_eq!((job.queue_place, order(&given.store)), (Some(1), vec![id(1), id(2)]));
}

#[test]
fn only_queued_jobs_move_and_are_moved_to() {
    let given = store();
    created(&given.store, 1);
    created(&given.store, 2);
    running(&given.store, 3);
    let no = |result: Result<Option<u64>, StoreError>| result.unwrap_err().to_string();
    let at_work = "the job is RUNNING and not in the queue; only a QUEUED one can be moved, or be moved to";
    assert_eq!(no(moved(&given.store, 3, MoveTo::First)), at_work);
    assert_eq!(no(moved(&given.store, 1, MoveTo::Before(id(3)))), at_work);
    assert!(matches!(moved(&given.store, 404, MoveTo::Last), Err(StoreError::NotFound)));
    assert!(matches!(moved(&given.store, 1, MoveTo::After(id(404))), Err(StoreError::NotFound)));
    assert_eq!(order(&given.store), [id(1), id(2)]);
    assert_eq!(moved(&given.store, 2, MoveTo::Before(id(2))).unwrap(), Some(2));
}

#[test]
fn of_two_that_move_what_they_saw_at_one_place_one_wins() {
    let given = store();
    for bits in 1..=5 {
        created(&given.store, bits);
    }
    let moving = |to| given.store.move_job(Move { job: id(3), to, from_place: Some(3) }).wait();
    let answers = std::thread::scope(|scope| {
        let one = scope.spawn(|| moving(MoveTo::First));
        let other = scope.spawn(|| moving(MoveTo::Last));
        [one.join().unwrap(), other.join().unwrap()]
    });
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let place = won[0].as_ref().unwrap().queue_place.unwrap();
    assert!((won.len(), lost.len()) == (1, 1) && [1, 5].contains(&place), "{won:?} {lost:?}");
    assert_eq!(
        lost[0].as_ref().unwrap_err().to_string(),
        format!("the job is at place {place} of the queue, not at 3 any more; look at the queue again")
    );
}

#[test]
fn what_a_job_waits_for_is_told_once_and_past_when_it_starts() {
    let given = store();
    let job = created(&given.store, 1).id;
    let (other, _) = running(&given.store, 2);
    let all = || vec![(job.clone(), gpu_busy()), (other.clone(), gpu_busy()), (id(404), gpu_busy())];
    for _ in 0..2 {
        given.store.set_waiting(all()).wait().unwrap();
    }
    let found = given.store.job(&job).wait().unwrap().unwrap();
    assert_eq!((found.waiting, found.seq), (Some(gpu_busy()), 2));
    let told = given.store.events_after(&job, 1, 10).wait().unwrap();
    let Event::Note { message, .. } = &told[0].record.event else { panic!("{told:?}") };
    assert_eq!(message, "waits: cuda:0 is in use by another job");
    assert_eq!(given.store.job(&other).wait().unwrap().unwrap().waiting, None);
    let low = Waiting { reason: WaitingReason::DiskLow, message: "make room".to_owned() };
    given.store.set_waiting(vec![(job.clone(), low.clone())]).wait().unwrap();
    assert_eq!(given.store.queue().wait().unwrap()[0].waiting, Some(low));
    given.store.begin_attempt(&job).wait().unwrap();
    assert_eq!(given.store.job(&job).wait().unwrap().unwrap().waiting, None);
}

#[test]
fn the_queue_knows_devices_and_the_largest_checkpoint() {
    let given = store();
    let mut gpu = new_job(1);
    gpu.spec.device.kind = Some("cuda:1".to_owned());
    given.store.create_job(gpu).wait().unwrap();
    let (other, attempt) = running(&given.store, 2);
    let records = vec![record(1, saved(7)), record(2, saved(3))];
    given.store.append_events(&other, attempt.number, records).wait().unwrap();
    given.store.transition(&other, to(State::Interrupted)).wait().unwrap();
    given.store.transition(&other, to(State::Queued)).wait().unwrap();
    let queue = given.store.queue().wait().unwrap();
    let told: Vec<_> = queue.iter().map(|queued| (queued.device.as_str(), queued.checkpoint_bytes)).collect();
    assert_eq!(told, [("cuda:1", 0), ("auto", 1007)]);
}

#[test]
fn a_request_with_another_parent_is_another_request() {
    let given = store();
    let parent = |step| Some(Parent { job: id(9), step });
    let request = |bits, step| NewJob {
        request_id: Some("r".to_owned()),
        parent: parent(step),
        ..NewJob { spec: spec(), ..new_job(bits) }
    };
    let Created::New(made) = given.store.create_job(request(1, 5)).wait().unwrap() else { panic!() };
    assert_eq!(made.parent, parent(5));
    assert!(
        matches!(given.store.create_job(request(2, 5)).wait(), Ok(Created::Existing(job)) if job == made)
    );
    assert!(matches!(given.store.create_job(request(3, 6)).wait(), Err(StoreError::RequestIdTaken)));
}

#[derive(Clone, Debug)]
enum Act {
    Move {
        job: usize,
        to: usize,
        other: usize,
    },
    /// The front is taken to be worked on, and comes back.
    WorkOnFirst,
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        // Often to the same spot, where the numbers between two jobs run out.
        30 => (0_usize..6, 0_usize..4, 0_usize..2).prop_map(|(job, to, other)| Act::Move { job, to, other }),
        1 => Just(Act::WorkOnFirst),
        1 => Just(Act::Reopen),
    ];
    proptest::collection::vec(act, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn moves_are_those_of_a_list(acts in acts()) {
        let mut given = store();
        let mut list: Vec<JobId> = (0..6).map(|bits| created(&given.store, bits).id).collect();
        for act in acts {
            match act {
                Act::Move { job, to, other } => {
                    let (job, other) = (list[job].clone(), list[other].clone());
                    let is_itself = job == other;
                    let to = match to {
                        0 => MoveTo::First,
                        1 => MoveTo::Last,
                        2 => MoveTo::Before(other),
                        _ => MoveTo::After(other),
                    };
                    if !(is_itself && matches!(to, MoveTo::Before(_) | MoveTo::After(_))) {
                        list.retain(|id| *id != job);
                        let at = |other: &JobId| list.iter().position(|id| id == other).unwrap();
                        let index = match &to {
                            MoveTo::First => 0,
                            MoveTo::Last => list.len(),
                            MoveTo::Before(other) => at(other),
                            MoveTo::After(other) => at(other) + 1,
                        };
                        list.insert(index, job.clone());
                    }
                    let from_place = None;
                    let moved = given.store.move_job(Move { job: job.clone(), to, from_place }).wait().unwrap();
                    let place = list.iter().position(|id| *id == job).unwrap() as u64 + 1;
                    prop_assert_eq!(moved.queue_place, Some(place));
                }
                Act::WorkOnFirst => {
                    for state in [State::Starting, State::Interrupted, State::Queued] {
                        given.store.transition(&list[0], to(state)).wait().unwrap();
                    }
                }
                Act::Reopen => given = given.reopened(),
            }
            prop_assert_eq!(&order(&given.store), &list);
        }
    }
}
