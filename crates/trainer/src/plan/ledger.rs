//! Who holds how much: the plan goes through a run as the engine does, takes what a tensor takes and gives it back
//! where the engine drops it. What counts is how far the heap ever reached, and who held what then.

use ftl_core::plan::MemoryParts;

use super::heap::{Heap, Place};

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The model's weights.
    Weights,
    /// The adapter's.
    Adapter,
    /// What the optimizer remembers.
    Optimizer,
    /// Gradients.
    Gradients,
    /// What is kept for the backward pass.
    Activations,
    /// What a block, or another step of the computation, works with.
    Block,
    /// A chunk of logits.
    Logits,
    /// Weights in 4 bits made whole.
    Dequantize,
    /// What is there whatever is trained.
    Runtime,
}

/// Something that is held. Whoever has one gives it back once.
#[derive(Debug)]
#[must_use = "what is taken is given back, or held on purpose"]
pub struct Held(usize);

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    part: Part,
    n_bytes: u64,
    n_holders: usize,
}

/// Who holds how much.
#[derive(Debug, Default)]
pub struct Ledger {
    heap: Heap,
    entries: Vec<Entry>,
    now: MemoryParts,
    peak: MemoryParts,
    peak_bytes: u64,
    most_held_bytes: u64,
}

impl Ledger {
    /// Takes memory.
    pub fn take(&mut self, part: Part, n_bytes: usize) -> Held {
        let n_bytes = n_bytes as u64;
        let place = self.heap.take(n_bytes);
        *amount(&mut self.now, part) += n_bytes;
        self.most_held_bytes = self.most_held_bytes.max(self.now.total());
        if self.heap.end() > self.peak_bytes {
            self.peak_bytes = self.heap.end();
            self.peak = self.now;
        }
        self.entries.push(Entry { place, part, n_bytes, n_holders: 1 });
        Held(self.entries.len() - 1)
    }

    /// One more holder of the same memory.
    pub fn share(&mut self, held: &Held) -> Held {
        self.entries[held.0].n_holders += 1;
        Held(held.0)
    }

    /// Gives it back; it is free when nobody else holds it.
    pub fn give(&mut self, held: Held) {
        let entry = &mut self.entries[held.0];
        entry.n_holders -= 1;
        if entry.n_holders == 0 {
            *amount(&mut self.now, entry.part) -= entry.n_bytes;
            self.heap.give(entry.place);
        }
    }

    /// Gives back what there is.
    pub fn give_all(&mut self, held: impl IntoIterator<Item = Held>) {
        held.into_iter().for_each(|held| self.give(held));
    }

    /// Changes it in place, or as a copy where somebody else holds it too.
    pub fn modify(&mut self, held: Held) -> Held {
        let Entry { part, n_bytes, n_holders, .. } = self.entries[held.0];
        if n_holders == 1 {
            return held;
        }
        let copy = self.take(part, n_bytes as usize);
        self.give(held);
        copy
    }

    /// Takes memory for a moment.
    pub fn touch(&mut self, part: Part, n_bytes: usize) {
        let held = self.take(part, n_bytes);
        self.give(held);
    }

    /// The most that was held at once, wherever it lay.
    pub fn most_held_bytes(&self) -> u64 {
        self.most_held_bytes
    }

    /// The parts at the peak, with what lay unused between them.
    pub fn peak(&self) -> MemoryParts {
        MemoryParts { gaps: self.peak_bytes - self.peak.total(), ..self.peak }
    }
}

fn amount(parts: &mut MemoryParts, part: Part) -> &mut u64 {
    match part {
        Part::Weights => &mut parts.weights,
        Part::Adapter => &mut parts.adapter,
        Part::Optimizer => &mut parts.optimizer,
        Part::Gradients => &mut parts.gradients,
        Part::Activations => &mut parts.activations,
        Part::Block => &mut parts.block,
        Part::Logits => &mut parts.logits,
        Part::Dequantize => &mut parts.dequantize,
        Part::Runtime => &mut parts.runtime,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Part};

    #[test]
    fn the_peak_says_who_held_what_then() {
        let mut ledger = Ledger::default();
        let weights = ledger.take(Part::Weights, 1000);
        let work = ledger.take(Part::Block, 500);
        ledger.give(work);
        ledger.touch(Part::Logits, 200);
        let peak = ledger.peak();
        assert_eq!((peak.weights, peak.block, peak.logits), (1000, 500, 0));
        assert!(peak.gaps < 100, "rounding and headers: {}", peak.gaps);
        ledger.give(weights);
        assert_eq!(ledger.peak(), peak);
    }

    #[test]
    fn what_two_hold_is_free_after_both_and_changed_as_a_copy() {
        let mut ledger = Ledger::default();
        let first = ledger.take(Part::Block, 1600);
        let second = ledger.share(&first);
        let changed = ledger.modify(second);
        assert_eq!(ledger.peak().block, 3200);
        ledger.give(first);
        let changed = ledger.modify(changed);
        ledger.touch(Part::Block, 1600);
        assert_eq!(ledger.peak().block, 3200, "the first is free, and nobody else holds the second");
        ledger.give(changed);
    }
}
