//! Rows of whole samples: which samples share a row.
//!
//! No sample is split and none attends to another (segments of a [`Batch`](super::batch::Batch)), so a packed row
//! trains as its samples alone would; it only makes rows alike in length.
//!
//! ```text
//! rows of 8 tokens, samples of 5 3 4 2 6 1    best fit    6 2 | 5 3 | 4 1        in order    5 3 | 4 2 | 6 1
//! ```

use std::collections::BTreeMap;

/// Fills rows of `max_length` tokens with the samples of `order`, longest first, each into the row that it leaves the
/// least room in (best fit decreasing; at most 11/9 of the fewest rows and one, Johnson 1974).
///
/// `lengths` is indexed by what `order` holds. Samples of one length are taken in the order given. How many rows there
/// are depends on the lengths alone. A sample that is longer than a row gets one of its own.
pub fn best_fit(order: &[usize], lengths: &[usize], max_length: usize) -> Vec<Vec<usize>> {
    let mut longest_first = order.to_vec();
    longest_first.sort_by_key(|sample| std::cmp::Reverse(lengths[*sample]));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // The rows by the room that they have left.
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for sample in longest_first {
        let length = lengths[sample];
        let fitting = open.range(length..).next().map(|(room, _)| *room);
        let (room, row) = match fitting {
            Some(room) => (room, take_row(&mut open, room)),
            None => {
                rows.push(Vec::new());
                (max_length.max(length), rows.len() - 1)
            }
        };
        rows[row].push(sample);
        if room > length {
            open.entry(room - length).or_default().push(row);
        }
    }
    rows
}

fn take_row(open: &mut BTreeMap<usize, Vec<usize>>, room: usize) -> usize {
    let rows = open.get_mut(&room).expect("a room that was just found");
    let row = rows.pop().expect("rooms without rows are removed");
    if rows.is_empty() {
        open.remove(&room);
    }
    row
}

/// Fills rows of `max_length` tokens without changing the order: a row ends where the next sample does not fit.
pub fn in_order(order: &[usize], lengths: &[usize], max_length: usize) -> Vec<Vec<usize>> {
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for sample in order {
        let length = lengths[*sample];
        if rows.is_empty() || length > room {
            rows.push(Vec::new());
            room = max_length.max(length);
        }
        room -= length;
        rows.last_mut().expect("there is a row").push(*sample);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{best_fit, in_order};

    const LENGTHS: [usize; 6] = [5, 3, 4, 2, 6, 1];

    #[test]
    fn rows_are_filled_as_the_picture_shows() {
        let order = [0, 1, 2, 3, 4, 5];
        assert_eq!(best_fit(&order, &LENGTHS, 8), [vec![4, 3], vec![0, 1], vec![2, 5]]);
        assert_eq!(in_order(&order, &LENGTHS, 8), [vec![0, 1], vec![2, 3], vec![4, 5]]);
    }

    #[test]
    fn a_sample_longer_than_a_row_has_its_own() {
        assert_eq!(best_fit(&[0, 1], &[9, 1], 8), [vec![0], vec![1]]);
        assert_eq!(in_order(&[0, 1], &[9, 1], 8), [vec![0], vec![1]]);
    }

    #[test]
    fn how_many_rows_there_are_does_not_depend_on_the_order() {
        let lengths: Vec<usize> = (0..200).map(|i| 1 + i * 37 % 50).collect();
        let forward: Vec<usize> = (0..200).collect();
        let backward: Vec<usize> = (0..200).rev().collect();
        let [forward, backward] = [forward, backward].map(|order| best_fit(&order, &lengths, 64));
        assert_eq!(forward.len(), backward.len());
        assert_ne!(forward, backward);
        let full: usize = lengths.iter().sum();
        assert!(forward.len() <= full.div_ceil(64) * 11 / 9 + 1, "{} rows for {full} tokens", forward.len());
        for row in &forward {
            assert!(row.iter().map(|sample| lengths[*sample]).sum::<usize>() <= 64);
        }
    }
}
