//! Who starts where. Pure, so that it can be read and tested as a table.

use std::collections::BTreeSet;

use ftl_core::JobId;
use ftl_core::job::{Waiting, WaitingReason};
use ftl_core::spec::resolved::DeviceKind;

use crate::leases::{Devices, Holder, Place};

/// A job in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: JobId,
    /// Where it asks to compute.
    pub(super) device: DeviceKind,
    /// What must be free on the disk for it to start.
    pub(super) needed_bytes: u64,
}

/// All that counts beside the queue.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) devices: Devices,
    pub(super) held: Vec<(Place, Holder)>,
    /// `None`: the system does not tell, and nobody waits for it.
    pub(super) free_disk_bytes: Option<u64>,
}

/// What follows. Every candidate is in `starts` or in `waits`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) starts: Vec<(JobId, Start)>,
    pub(super) waits: Vec<(JobId, Waiting)>,
    /// Places that models which answer are to leave.
    pub(super) wanted: BTreeSet<Place>,
}

/// Where a job starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) place: Place,
    /// One sentence on the choice, where it was ours.
    pub(super) why: Option<String>,
}

/// Goes through the queue in its order. Each job takes the first place that it may have and that is free. One that can't
/// start holds up nobody behind it, but for the place that it waits for and no other may take before it.
pub(super) fn schedule(queue: &[Candidate], world: &World) -> Schedule {
    let World { devices, held, free_disk_bytes } = world;
    let mut schedule = Schedule::default();
    // Places that are taken now, or that a job further ahead waits for.
    let mut taken: Vec<(Place, By)> = held
        .iter()
        .map(|(place, holder)| match holder {
            Holder::Job(_) => (*place, By::Job),
            Holder::Answers => (*place, By::Answers),
        })
        .collect();
    for Candidate { id, device, needed_bytes } in queue {
        if free_disk_bytes.is_some_and(|free| free < *needed_bytes) {
            schedule.waits.push((id.clone(), disk_low(*needed_bytes)));
            continue;
        }
        let (places, why) = match places(*device, devices) {
            Ok(found) => found,
            Err(reason) => {
                schedule.waits.push((id.clone(), unavailable(*device, &reason)));
                continue;
            }
        };
        let by =
            |place: Place| taken.iter().filter(move |(other, _)| other.excludes(place)).map(|(_, by)| *by);
        if let Some(place) = places.iter().copied().find(|place| by(*place).next().is_none()) {
            taken.push((place, By::Job));
            schedule.starts.push((id.clone(), Start { place, why }));
        } else if let Some(place) =
            places.iter().copied().find(|place| by(*place).all(|by| by == By::Answers))
        {
            taken.push((place, By::Job));
            schedule.wanted.insert(place);
            let message = format!("a model that answers on {place} ends first");
            schedule.waits.push((id.clone(), Waiting { reason: WaitingReason::GpuBusy, message }));
        } else {
            // A device of Vulkan waits for all GPUs: without this, jobs behind it could take turns on them for ever.
            taken.extend(places.iter().map(|place| (*place, By::Job)));
            schedule.waits.push((id.clone(), busy(&places)));
        }
    }
    schedule
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A job that trains, or will before others.
    Job,
    /// A model that answers, which gives way.
    Answers,
}

/// Where a job may compute, best first, and why where it did not say; or why nowhere.
fn places(device: DeviceKind, devices: &Devices) -> Result<(Vec<Place>, Option<String>), String> {
    let Devices { cuda, vulkan } = devices;
    let gpus = |indexes: &[usize]| indexes.iter().copied().map(Place::Cuda).collect::<Vec<_>>();
    match (device, cuda) {
        (DeviceKind::Cpu, _) => Ok((vec![Place::Cpu], None)),
        (DeviceKind::Auto, Ok(indexes)) => {
            Ok((gpus(indexes), Some("a GPU is there, and `device.kind` = `auto` takes it".to_owned())))
        }
        (DeviceKind::Auto, Err(reason)) => {
            Ok((vec![Place::Cpu], Some(format!("no GPU can be used: {reason}"))))
        }
        (DeviceKind::AnyCuda, Ok(indexes)) => Ok((gpus(indexes), None)),
        (DeviceKind::Cuda(index), Ok(indexes)) if indexes.contains(&index) => {
            Ok((vec![Place::Cuda(index)], None))
        }
        (DeviceKind::Cuda(_), Ok(indexes)) => {
            let names: Vec<String> = indexes.iter().map(|index| format!("`cuda:{index}`")).collect();
            Err(format!("what can be used is {}", names.join(", ")))
        }
        (DeviceKind::AnyCuda | DeviceKind::Cuda(_), Err(reason)) => Err(reason.clone()),
        (DeviceKind::Vulkan(index), _) => vulkan.clone().map(|()| (vec![Place::Vulkan(index)], None)),
    }
}

// The sentences below hold nothing that changes all the time: each change of one is an event of the job.

fn unavailable(device: DeviceKind, reason: &str) -> Waiting {
    let message = format!("there is no `{device}`, and it starts when there is: {reason}");
    Waiting { reason: WaitingReason::GpuUnavailable, message }
}

fn disk_low(needed_bytes: u64) -> Waiting {
    let mib = needed_bytes.div_ceil(1 << 20);
    let message = format!(
        "the disk of the data directory has less than the {mib} MiB free that a start needs; make room, or see `ftl jobs \
         queue --min-free-disk`"
    );
    Waiting { reason: WaitingReason::DiskLow, message }
}

fn busy(places: &[Place]) -> Waiting {
    let (reason, message) = match places {
        [Place::Cpu] => (WaitingReason::CpuBusy, "another job has the CPU".to_owned()),
        [place] => (WaitingReason::GpuBusy, format!("another job has {place}")),
        _ => (WaitingReason::GpuBusy, "other jobs have every GPU".to_owned()),
    };
    Waiting { reason, message }
}

#[cfg(test)]
mod tests;
