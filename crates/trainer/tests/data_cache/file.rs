//! Samples come back as they went in.

use ftl_trainer::data::cache::{Cache, Found};
use ftl_trainer::data::sample::{IGNORED, Sample};
use ftl_trainer::data::samples::{Key, Origin, Samples, Writer};
use proptest::collection::vec;
use proptest::prelude::*;

fn segment() -> impl Strategy<Value = Sample> {
    let label = |id: u32| prop_oneof![3 => Just(id as i32), 3 => Just(IGNORED), 1 => any::<i32>()];
    let token = prop_oneof![any::<u32>(), 0_u32..100].prop_flat_map(move |id| (Just(id), label(id)));
    let plain = vec(token, 0..40).prop_map(|tokens| {
        let (ids, labels) = tokens.into_iter().unzip();
        Sample::new(ids, labels)
    });
    // As text has them: a prompt, then an answer.
    let usual = (vec(0_u32..50_000, 0..60), any::<prop::sample::Index>()).prop_map(|(ids, cut)| {
        let cut = if ids.is_empty() { 0 } else { cut.index(ids.len()) };
        let label = |(index, id): (usize, &u32)| if index < cut { IGNORED } else { *id as i32 };
        let labels = ids.iter().enumerate().map(label).collect();
        Sample::new(ids, labels)
    });
    (prop_oneof![plain, usual], any::<bool>()).prop_map(|(sample, weighted)| {
        let weights = weighted.then(|| (0..sample.ids.len()).map(|index| index as f32 / 7.0).collect());
        Sample { weights, ..sample }
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    (segment(), proptest::option::of(segment())).prop_map(|(text, rejected)| match rejected {
        Some(rejected) => Sample::pair(text, rejected),
        None => text,
    })
}

fn origin(index: usize) -> Origin {
    let number = index as u32;
    Origin {
        row: u64::MAX - index as u64,
        piece: index as u64,
        n_supervised: number + 1,
        file_index: number * 3,
        begins_row: number.is_multiple_of(2),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn samples_come_back_from_the_heap_and_from_a_file(all in vec(sample(), 0..30), about in vec(any::<u8>(), 0..50)) {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::Dir { path: dir.path().to_owned(), limit_bytes: 1 << 30 };
        let key = Key([1; 32]);
        let mut writer = Writer::on_heap();
        all.iter().enumerate().for_each(|(index, sample)| writer.push(sample, origin(index)));
        let (on_heap, notes) = cache.keep(&key, writer.finish(&key, &about).expect("written"));
        prop_assert_eq!(notes, Vec::<String>::new());
        let Found::Samples(mapped) = cache.find(&key) else { panic!("kept") };
        prop_assert!(mapped.is_mapped() && !on_heap.is_mapped());
        for samples in [&on_heap, &mapped] {
            prop_assert_eq!(samples.iter().collect::<Vec<_>>(), &all[..]);
            prop_assert_eq!(samples.about(), &about[..]);
            let pairs: Vec<bool> = all.iter().map(|sample| sample.rejected.is_some()).collect();
            prop_assert_eq!(samples.are_pairs().collect::<Vec<_>>(), pairs);
            for (index, sample) in all.iter().enumerate() {
                prop_assert_eq!(samples.n_tokens(index), sample.n_tokens());
                prop_assert_eq!(samples.longest_segment(index), sample.longest_segment());
                prop_assert_eq!(samples.origin(index), origin(index));
            }
        }
    }
}

#[test]
fn selections_are_selections_of_selections() {
    let all: Samples = (0..10).map(|id| Sample::new(vec![id], vec![id as i32])).collect();
    let ids = |samples: &Samples| samples.iter().map(|sample| sample.ids[0]).collect::<Vec<_>>();
    let odd = all.filter(|index| index % 2 == 1);
    assert_eq!(ids(&odd), [1, 3, 5, 7, 9]);
    assert_eq!(ids(&odd.part(1..4)), [3, 5, 7]);
    assert_eq!(ids(&odd.part(1..4).filter(|index| index != 1)), [3, 7]);
    assert_eq!(ids(&all.part(4..9).part(2..3)), [6]);
    assert_eq!(ids(&all.part(4..9).filter(|index| index > 2)), [7, 8]);
    assert!(odd.contains(&all.get(3)) && !odd.contains(&all.get(4)));
    assert!(all.part(3..3).is_empty() && Samples::default().is_empty());
    assert_ne!(all, odd);
    assert_eq!(all.longest(), 1);
}

/// Many samples go to a file as they come, and one place after the other is tried.
#[test]
fn many_samples_are_in_a_file_wherever_one_can_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, b"no directory").expect("written");
    let good = dir.path().join("good");
    let sample = |id: u32| Sample::new(vec![id; 1 << 16], vec![id as i32; 1 << 16]);
    for (places, is_mapped) in [(vec![file.clone(), good.clone()], true), (vec![file], false)] {
        let mut writer = Writer::at(places);
        (0..100).for_each(|id| writer.push(&sample(id), origin(0)));
        let written = writer.finish(&Key::default(), b"x").expect("written");
        assert_eq!(written.samples.is_mapped(), is_mapped);
        assert_eq!(written.notes.len(), 1, "{:?}", written.notes);
        assert!(written.notes[0].starts_with("tokens can't be written to `"), "{}", written.notes[0]);
        assert!((0..100).all(|id| written.samples.get(id as usize) == sample(id)));
        assert_eq!(written.samples.about(), b"x");
        drop(written);
    }
    assert_eq!(crate::job::files(&good).len(), 0, "what was not kept is gone");
}
