//! Rows of token ids from elsewhere: taken as they are, padding removed.

use std::ops::Range;

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use serde_json::Value;

use super::fields::{Fields, Found};
use crate::data::fault::Fault;
use crate::data::sample::{IGNORED, Sample};

/// Reads `input_ids`, `labels` and `attention_mask`.
/// Whether ids are below the vocabulary's size is not known here.
pub(super) fn sample(fields: &Fields<'_>) -> Result<Sample, Fault> {
    let found = [Field::InputIds, Field::Labels, Field::AttentionMask].map(|field| fields.find(field));
    read(found, "input_ids")
}

/// Reads the tokens of one side of a pair, whose keys begin with `prefix`.
pub(super) fn side(fields: &Fields<'_>, prefix: &str) -> Result<Sample, Fault> {
    let names = ["input_ids", "labels", "attention_mask"].map(|name| format!("{prefix}{name}"));
    let found = names.each_ref().map(|name| fields.own(name));
    read(found, &names[0])
}

fn read([ids, labels, mask]: [Option<Found<'_>>; 3], ids_name: &str) -> Result<Sample, Fault> {
    let unusable = |what: String| Fault::new(Code::UnusableField, what);
    let missing = || Fault::new(Code::MissingField, format!("has no `{ids_name}`"));
    let (ids_key, ids) = integers(ids)?.ok_or_else(missing)?;
    if ids.is_empty() {
        return Err(Fault::new(Code::EmptyField, format!("has no tokens in `{ids_key}`")));
    }
    for (place, id) in ids.iter().enumerate() {
        if !(0..=i64::from(i32::MAX)).contains(id) {
            return Err(unusable(format!("has {id} at place {place} of `{ids_key}`; expected token ids")));
        }
    }
    let (labels_key, labels) = integers(labels)?.unwrap_or_else(|| ("labels", ids.clone()));
    same_length(labels_key, &labels, &ids)?;
    for (place, label) in labels.iter().enumerate() {
        if *label != i64::from(IGNORED) && !(0..=i64::from(i32::MAX)).contains(label) {
            return Err(unusable(format!(
                "has {label} at place {place} of `{labels_key}`; expected token ids, or -100 for what is not learned"
            )));
        }
    }
    let kept = match integers(mask)? {
        None => 0..ids.len(),
        Some((mask_key, mask)) => {
            same_length(mask_key, &mask, &ids)?;
            unpadded(&mask).map_err(unusable)?
        }
    };
    Ok(Sample::new(
        ids[kept.clone()].iter().map(|id| *id as u32).collect(),
        labels[kept].iter().map(|label| *label as i32).collect(),
    ))
}

/// The places where an attention mask is 1.
///
/// # Errors
/// The end of a sentence: the mask has a hole, other numbers than 0 and 1, or no 1.
pub fn unpadded(mask: &[i64]) -> Result<Range<usize>, String> {
    if let Some(place) = mask.iter().position(|bit| !matches!(bit, 0 | 1)) {
        return Err(format!("has {} at place {place} of `attention_mask`; expected 0 or 1", mask[place]));
    }
    let Some(start) = mask.iter().position(|bit| *bit == 1) else {
        return Err("has only padding: `attention_mask` is 0 throughout".to_owned());
    };
    let end = mask.iter().rposition(|bit| *bit == 1).map_or(start, |last| last + 1);
    match mask[start..end].iter().position(|bit| *bit == 0) {
        None => Ok(start..end),
        Some(hole) => Err(format!(
            "has an `attention_mask` with a hole at place {}; only padding at the start or the end may be 0",
            start + hole
        )),
    }
}

fn integers<'a>(found: Option<Found<'a>>) -> Result<Option<(&'a str, Vec<i64>)>, Fault> {
    let Some(found) = found.filter(|found| !found.value.is_null()) else { return Ok(None) };
    let key = found.key;
    match found.parsed().as_ref() {
        Value::Array(values) => {
            let read = values.iter().enumerate().map(|(place, value)| {
                let what = || format!("has {value} at place {place} of `{key}`; expected whole numbers");
                value.as_i64().ok_or_else(|| Fault::new(Code::UnusableField, what()))
            });
            read.collect::<Result<_, _>>().map(|values| Some((key, values)))
        }
        other => Err(found.wrong(other, "a list of whole numbers")),
    }
}

fn same_length(key: &str, values: &[i64], ids: &[i64]) -> Result<(), Fault> {
    if values.len() == ids.len() {
        return Ok(());
    }
    Err(Fault::new(Code::UnusableField, format!("has {} `{key}` for {} tokens", values.len(), ids.len())))
}
