//! Cases as a table, and what holds for any queue on any machine.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const NEEDED: u64 = 100;

fn id(bits: usize) -> JobId {
    JobId::from_bits(bits as u64)
}

fn job(bits: usize, device: &str) -> Candidate {
    Candidate { id: id(bits), device: device.parse().expect("a device"), needed_bytes: NEEDED }
}

fn world(cuda: &[usize], held: &[(Place, Holder)]) -> World {
    let cuda = if cuda.is_empty() { Err("no driver".to_owned()) } else { Ok(cuda.to_vec()) };
    World { devices: Devices { cuda, vulkan: Ok(()) }, held: held.to_vec(), free_disk_bytes: Some(NEEDED) }
}

/// One word for each job in the order of the queue: where it starts, or what it waits for.
fn told(queue: &[&str], world: &World) -> Vec<String> {
    let queue: Vec<Candidate> = queue.iter().enumerate().map(|(bits, device)| job(bits, device)).collect();
    let Schedule { starts, waits, wanted } = schedule(&queue, world);
    let of = |candidate: &Candidate| {
        let start = starts.iter().find(|(id, _)| *id == candidate.id);
        let wait = waits.iter().find(|(id, _)| *id == candidate.id);
        match (start, wait) {
            (Some((_, start)), None) => start.place.device().to_string(),
            (None, Some((_, waiting))) => format!("{:?}", waiting.reason),
            both => panic!("{both:?}"),
        }
    };
    let mut words: Vec<String> = queue.iter().map(of).collect();
    words.extend(wanted.iter().map(|place| format!("wants {place}")));
    words
}

#[test]
fn who_starts_where_is_as_in_this_table() {
    use Place::{Cpu, Cuda, Vulkan};

    let by_job = |place| (place, Holder::Job(id(99)));
    let by_answers = |place| (place, Holder::Answers);
    let free: &[(Place, Holder)] = &[];
    type Case<'a> = (&'a [usize], &'a [(Place, Holder)], &'a [&'a str], &'a [&'a str]);
    let cases: [Case<'_>; 21] = [
        // One training on the CPU.
        (&[], free, &["cpu", "cpu"], &["cpu", "CpuBusy"]),
        (&[], &[by_job(Cpu)], &["cpu"], &["CpuBusy"]),
        // `auto` takes a GPU where there is one, busy or not, and else the CPU.
        (&[], free, &["auto"], &["cpu"]),
        (&[0], free, &["auto", "auto"], &["cuda:0", "GpuBusy"]),
        (&[0], &[by_job(Cuda(0))], &["auto"], &["GpuBusy"]),
        // Who asks for a GPU never gets the CPU.
        (&[], free, &["cuda", "cuda:0", "cpu"], &["GpuUnavailable", "GpuUnavailable", "cpu"]),
        (&[0], free, &["cuda:1"], &["GpuUnavailable"]),
        // Several at once.
        (&[0, 1], free, &["cuda", "cuda", "cuda", "cpu"], &["cuda:0", "cuda:1", "GpuBusy", "cpu"]),
        (&[0, 1], free, &["cuda:1", "cuda:1", "auto"], &["cuda:1", "GpuBusy", "cuda:0"]),
        (&[1], free, &["cuda"], &["cuda:1"]),
        // In the order of the queue: who is first may take what the second could only have.
        (&[0, 1], free, &["cuda", "cuda:0"], &["cuda:0", "GpuBusy"]),
        // Models that answer give way, to one job; it alone may go there then.
        (&[0], &[by_answers(Cuda(0))], &["cuda", "cuda"], &["GpuBusy", "GpuBusy", "wants cuda:0"]),
        // A free place is better than one that must be left first.
        (&[0, 1], &[by_answers(Cuda(0))], &["cuda"], &["cuda:1"]),
        (&[0, 1], &[by_job(Cuda(0)), by_answers(Cuda(1))], &["cuda:0"], &["GpuBusy"]),
        (&[0, 1], &[by_job(Cuda(0)), by_answers(Cuda(1))], &["cuda"], &["GpuBusy", "wants cuda:1"]),
        // Vulkan may show any card.
        (&[0], free, &["vulkan", "cuda", "cpu"], &["vulkan:0", "GpuBusy", "cpu"]),
        (&[0], free, &["cuda", "vulkan:1"], &["cuda:0", "GpuBusy"]),
        (&[0], &[by_job(Vulkan(0))], &["cuda:0", "vulkan:1"], &["GpuBusy", "GpuBusy"]),
        // It waits for all GPUs, so none of them is given to those behind it.
        (&[0, 1], &[by_job(Cuda(0))], &["vulkan", "cuda", "cpu"], &["GpuBusy", "GpuBusy", "cpu"]),
        (&[0, 1], &[by_answers(Cuda(0))], &["vulkan"], &["GpuBusy", "wants vulkan:0"]),
        (&[0], free, &[], &[]),
    ];
    for (cuda, held, queue, expected) in cases {
        assert_eq!(told(queue, &world(cuda, held)), expected, "{queue:?} on {cuda:?} with {held:?}");
    }
}

#[test]
fn a_full_disk_holds_up_those_alone_that_need_more() {
    let queue = [job(0, "cpu"), Candidate { needed_bytes: NEEDED / 2, ..job(1, "cpu") }];
    let low = World { free_disk_bytes: Some(NEEDED - 1), ..world(&[], &[]) };
    let Schedule { starts, waits, .. } = schedule(&queue, &low);
    assert_eq!((&starts[0].0, starts.len()), (&id(1), 1));
    assert_eq!((&waits[0].0, waits[0].1.reason), (&id(0), WaitingReason::DiskLow));
    let untold = World { free_disk_bytes: None, ..low };
    assert_eq!(schedule(&queue, &untold).starts[0].0, id(0));
}

#[test]
fn reasons_are_sentences_that_name_the_cause() {
    let message = |device: &str, world: &World| {
        let Schedule { waits, .. } = schedule(&[job(0, device)], world);
        waits[0].1.message.clone()
    };
    let cases = [
        (message("cuda", &world(&[], &[])), "there is no `cuda`, and it starts when there is: no driver"),
        (
            message("cuda:3", &world(&[0, 2], &[])),
            "there is no `cuda:3`, and it starts when there is: what can be used is `cuda:0`, `cuda:2`",
        ),
        (message("cpu", &world(&[], &[(Place::Cpu, Holder::Job(id(9)))])), "another job has the CPU"),
        (
            message("cuda", &world(&[0], &[(Place::Cuda(0), Holder::Answers)])),
            "a model that answers on cuda:0 ends first",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(message, expected);
    }
}

fn device() -> impl Strategy<Value = DeviceKind> {
    prop_oneof![
        Just(DeviceKind::Auto),
        Just(DeviceKind::Cpu),
        Just(DeviceKind::AnyCuda),
        (0_usize..4).prop_map(DeviceKind::Cuda),
        (0_usize..2).prop_map(DeviceKind::Vulkan),
    ]
}

fn any_queue() -> impl Strategy<Value = Vec<Candidate>> {
    let candidate = (device(), 0..2 * NEEDED);
    proptest::collection::vec(candidate, 0..12).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered
            .map(|(bits, (device, needed_bytes))| Candidate { id: id(bits), device, needed_bytes })
            .collect()
    })
}

fn any_world() -> impl Strategy<Value = World> {
    let place = prop_oneof![
        Just(Place::Cpu),
        (0_usize..4).prop_map(Place::Cuda),
        (0_usize..2).prop_map(Place::Vulkan)
    ];
    let holder = prop_oneof![Just(Holder::Answers), Just(Holder::Job(JobId::from_bits(1_000)))];
    let indexes = proptest::sample::subsequence(vec![0_usize, 1, 2, 3], 0..4);
    (indexes, proptest::collection::vec((place, holder), 0..4), any::<bool>()).prop_map(
        |(cuda, held, vulkan)| {
            let mut world = world(&cuda, &held);
            if !vulkan {
                world.devices.vulkan = Err("not built in".to_owned());
            }
            world
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_place_is_given_twice_and_none_is_left_free(queue in any_queue(), world in any_world()) {
        let Schedule { starts, waits, wanted } = schedule(&queue, &world);

        let told: Vec<&JobId> = starts.iter().map(|(id, _)| id).chain(waits.iter().map(|(id, _)| id)).collect();
        prop_assert_eq!(told.len(), queue.len());
        prop_assert_eq!(told.into_iter().collect::<HashSet<_>>().len(), queue.len());

        let at = |id: &JobId| queue.iter().position(|candidate| candidate.id == *id).expect("of the queue");
        let may = |id: &JobId| {
            places(queue[at(id)].device, &world.devices).map(|(places, _)| places).unwrap_or_default()
        };
        for (index, (id, Start { place, .. })) in starts.iter().enumerate() {
            prop_assert!(may(id).contains(place), "{:?} was given {}", queue[at(id)], place);
            prop_assert!(world.held.iter().all(|(held, _)| !held.excludes(*place)));
            prop_assert!(starts[..index].iter().all(|(_, other)| !other.place.excludes(*place)));
            prop_assert!(!wanted.iter().any(|other| other.excludes(*place)), "{} is kept for another", place);
            if let DeviceKind::AnyCuda | DeviceKind::Cuda(_) = queue[at(id)].device {
                prop_assert!(matches!(place, Place::Cuda(_)));
            }
        }
        for (id, Waiting { reason, .. }) in &waits {
            match reason {
                WaitingReason::DiskLow => prop_assert!(queue[at(id)].needed_bytes > NEEDED),
                WaitingReason::GpuUnavailable => prop_assert!(may(id).is_empty()),
                WaitingReason::CpuBusy | WaitingReason::GpuBusy => {
                    // Nobody behind it was given what it may have, and nothing that it may have is free, but for what is
                    // kept for one further ahead.
                    for place in may(id) {
                        let ahead = |other: &JobId| at(other) < at(id);
                        let by_start = starts.iter().any(|(other, start)| ahead(other) && start.place.excludes(place));
                        let by_wait = waits.iter().any(|(other, Waiting { reason, .. })| {
                            matches!(reason, WaitingReason::CpuBusy | WaitingReason::GpuBusy)
                                && ahead(other)
                                && may(other).iter().any(|other| other.excludes(place))
                        });
                        let by_holder = world.held.iter().any(|(held, _)| held.excludes(place));
                        prop_assert!(by_start || by_wait || by_holder, "{} is free for {:?}", place, queue[at(id)]);
                        let overtaken = starts.iter().any(|(other, start)| !ahead(other) && start.place == place);
                        prop_assert!(!overtaken, "{:?} was overtaken at {}", queue[at(id)], place);
                    }
                }
            }
        }
        for place in wanted {
            let by_answers = world.held.iter().filter(|(held, _)| held.excludes(place));
            prop_assert!(by_answers.clone().count() > 0);
            prop_assert!(by_answers.into_iter().all(|(_, holder)| *holder == Holder::Answers));
        }
    }
}
