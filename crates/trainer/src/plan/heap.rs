//! An allocator's book-keeping without its memory: which place a request gets, and how far the heap reaches.
//!
//! Follows glibc's rules for large requests when freed memory is kept ([`crate::device::keep_heap`]): the smallest free
//! place that is large enough, neighbours join when they are freed, and what lies at the end belongs to the unused rest.
//! The order of requests decides which gaps stay, so the plan makes them in the engine's order.

use std::collections::{BTreeMap, BTreeSet};

/// Requests are rounded up to this, and a header of as much stands before each.
const GRAIN: u64 = 16;

/// Where a request was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    start: u64,
    size: u64,
}

/// A heap.
#[derive(Clone, Debug, Default)]
pub struct Heap {
    /// Free places by start, with their size.
    free: BTreeMap<u64, u64>,
    /// The same by size, then start.
    by_size: BTreeSet<(u64, u64)>,
    end: u64,
}

impl Heap {
    /// Where the last place in use ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Finds a place.
    pub fn take(&mut self, n_bytes: u64) -> Place {
        let size = n_bytes.next_multiple_of(GRAIN) + GRAIN;
        let found = self.by_size.range((size, 0)..).next().copied();
        let Some((free, start)) = found else {
            let start = self.end;
            self.end += size;
            return Place { start, size };
        };
        self.remove(start, free);
        if free > size {
            self.insert(start + size, free - size);
        }
        Place { start, size }
    }

    /// Frees a place.
    pub fn give(&mut self, Place { mut start, mut size }: Place) {
        if let Some((before, n)) = self.free.range(..start).next_back().map(|(at, n)| (*at, *n))
            && before + n == start
        {
            self.remove(before, n);
            (start, size) = (before, size + n);
        }
        if let Some(n) = self.free.get(&(start + size)).copied() {
            self.remove(start + size, n);
            size += n;
        }
        if start + size == self.end {
            self.end = start;
        } else {
            self.insert(start, size);
        }
    }

    fn insert(&mut self, start: u64, size: u64) {
        self.free.insert(start, size);
        self.by_size.insert((size, start));
    }

    fn remove(&mut self, start: u64, size: u64) {
        self.free.remove(&start);
        self.by_size.remove(&(size, start));
    }
}

#[cfg(test)]
mod tests {
    use super::{GRAIN, Heap};

    /// A request that takes `n` grains with its header.
    fn grains(n: u64) -> u64 {
        (n - 1) * GRAIN
    }

    #[test]
    fn a_request_takes_the_smallest_place_that_is_large_enough() {
        let mut heap = Heap::default();
        let [large, wall, small, _last] = [8, 1, 4, 1].map(|n| heap.take(grains(n)));
        heap.give(large);
        heap.give(small);
        assert_eq!(heap.take(grains(3)).start, small.start);
        assert_eq!(heap.take(grains(5)).start, large.start);
        assert_eq!(heap.end(), 14 * GRAIN);
        heap.give(wall);
        assert_eq!(heap.end(), 14 * GRAIN, "what is free in the middle does not shorten the heap");
    }

    #[test]
    fn neighbours_join_and_the_end_is_given_back() {
        let mut heap = Heap::default();
        let places = [2, 3, 4].map(|n| heap.take(grains(n)));
        let last = heap.take(grains(1));
        places.into_iter().for_each(|place| heap.give(place));
        assert_eq!(heap.take(grains(9)).start, 0, "all three are one place");
        heap.give(last);
        assert_eq!(heap.end(), 9 * GRAIN);
    }
}
