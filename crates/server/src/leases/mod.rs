//! Who computes where: one task on a GPU at a time, one training on the CPU at a time.
//!
//! Whatever trains, or answers on a GPU, holds a [`Lease`] of its [`Place`] for as long as its process lives. The table
//! is in memory alone: what a dead service left behind is found by the locks on jobs' directories, see `jobs::recover`.
//!
//! | who | while the place is taken |
//! |---|---|
//! | a job | waits in the queue, with the reason |
//! | an answer on a GPU | is refused at once: what trains may train for hours, and a person waits for the answer |
//!
//! A loaded model that answers nobody at the moment ends when a job wants its place; one that answers does so when it
//! has answered. Until then new questions for that place are refused, so that a crowd of them can't keep a job waiting.

mod machine;
mod place;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ftl_core::spec::resolved::DeviceKind;
use ftl_core::{JobId, Problem, ProblemKind};
use tokio::sync::watch;

pub use machine::{Devices, GpuSource, Machine};
pub use place::Place;

use crate::error::ServiceError;

/// Who holds a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A job, or a worker of one that outlived its service.
    Job(JobId),
    /// A model that answers.
    Answers,
}

/// The table of leases. Clones share it.
#[derive(Clone)]
pub struct Leases(Arc<Shared>);

struct Shared {
    machine: Machine,
    table: Mutex<Table>,
    /// How often a place became free.
    freed: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    n_given: u64,
    entries: Vec<Entry>,
}

struct Entry {
    number: u64,
    place: Place,
    holder: Holder,
    wanted: watch::Sender<bool>,
}

/// A place that is held until this is dropped.
pub struct Lease {
    leases: Leases,
    number: u64,
    place: Place,
    wanted: watch::Receiver<bool>,
}

impl Leases {
    /// Nobody holds anything.
    pub fn new(machine: Machine) -> Self {
        Self(Arc::new(Shared { machine, table: Mutex::default(), freed: watch::Sender::new(0) }))
    }

    /// The machine whose places these are.
    pub fn machine(&self) -> &Machine {
        &self.0.machine
    }

    /// Takes a place, where nobody holds one that excludes it.
    pub fn take(&self, place: Place, holder: Holder) -> Option<Lease> {
        let mut table = self.table();
        if table.entries.iter().any(|entry| entry.place.excludes(place)) {
            return None;
        }
        Some(self.give(&mut table, place, holder))
    }

    /// Marks a place as held by somebody who is there already, whoever else may be.
    pub fn found(&self, place: Place, holder: Holder) -> Lease {
        let mut table = self.table();
        self.give(&mut table, place, holder)
    }

    fn give(&self, table: &mut Table, place: Place, holder: Holder) -> Lease {
        table.n_given += 1;
        let (number, (wanted, receiver)) = (table.n_given, watch::channel(false));
        table.entries.push(Entry { number, place, holder, wanted });
        Lease { leases: self.clone(), number, place, wanted: receiver }
    }

    /// All places that are held, with who holds them.
    pub fn held(&self) -> Vec<(Place, Holder)> {
        self.table().entries.iter().map(|entry| (entry.place, entry.holder.clone())).collect()
    }

    /// Tells models that answer that a job wants this place.
    pub fn want(&self, place: Place) {
        for entry in &self.table().entries {
            if entry.holder == Holder::Answers && entry.place.excludes(place) {
                entry.wanted.send_replace(true);
            }
        }
    }

    /// Changes when a place becomes free.
    pub fn freed(&self) -> watch::Receiver<u64> {
        self.0.freed.subscribe()
    }

    /// Where an answer is computed, and the lease of it. On the CPU it needs none: it computes beside a training, as it
    /// always could.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where the GPU is taken. A GPU that is not there is the worker's to refuse, which
    /// says more about it.
    pub async fn for_answer(&self, asked: DeviceKind) -> Result<(DeviceKind, Option<Lease>), ServiceError> {
        if asked == DeviceKind::Cpu {
            return Ok((asked, None));
        }
        let Devices { cuda, vulkan } = self.machine().devices().await?;
        let places: Vec<Place> = match (asked, cuda) {
            (DeviceKind::Cpu, _) | (DeviceKind::Auto, Err(_)) => return Ok((DeviceKind::Cpu, None)),
            (DeviceKind::Auto | DeviceKind::AnyCuda, Ok(indexes)) => {
                indexes.into_iter().map(Place::Cuda).collect()
            }
            (DeviceKind::Cuda(index), Ok(indexes)) if indexes.contains(&index) => vec![Place::Cuda(index)],
            (DeviceKind::Vulkan(index), _) if vulkan.is_ok() => vec![Place::Vulkan(index)],
            (DeviceKind::AnyCuda | DeviceKind::Cuda(_) | DeviceKind::Vulkan(_), _) => {
                return Ok((asked, None));
            }
        };
        match places.iter().find_map(|place| self.take(*place, Holder::Answers)) {
            Some(lease) => Ok((lease.place.device(), Some(lease))),
            None => Err(ServiceError::Precondition(taken(&places))),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The place.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether a job wants it.
    pub fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }

    /// Waits until a job wants it.
    pub fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut wanted = self.wanted.clone();
        async move {
            // The sender goes with the lease; then nobody holds the place that could be wanted.
            let _ = wanted.wait_for(|wanted| *wanted).await;
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("place", &self.place).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Leases").field(&self.held()).finish()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Self { leases, number, place: _, wanted: _ } = self;
        leases.table().entries.retain(|entry| entry.number != *number);
        leases.0.freed.send_modify(|n_freed| *n_freed += 1);
    }
}

/// Why an answer is not computed on any of these.
pub fn taken(places: &[Place]) -> Problem {
    let names: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    let is = if names.len() == 1 { "is" } else { "are" };
    let message = format!("{} {is} taken by jobs, and a GPU does one thing at a time", names.join(", "));
    Problem::new(ProblemKind::Device, message)
        .at("device")
        .hint("ask again when `ftl jobs ls` shows them done, stop one, or ask for the device `cpu`")
}
