//! Rows of token ids from elsewhere: taken as they are, padding removed.

use std::ops::Range;

use serde_json::{Map, Value};

use super::kind_of;
use crate::data::sample::{IGNORED, Sample};

/// Reads `input_ids`, `labels` and `attention_mask`, each with `prefix` before its name: a pair has two of them.
/// Whether ids are below the vocabulary's size is not known here.
pub fn sample(fields: &Map<String, Value>, prefix: &str) -> Result<Sample, String> {
    let [ids_key, labels_key] = ["input_ids", "labels"].map(|key| format!("{prefix}{key}"));
    let ids = integers(fields, &ids_key)?.ok_or_else(|| format!("has no `{ids_key}`"))?;
    if ids.is_empty() {
        return Err(format!("has no tokens in `{ids_key}`"));
    }
    for (place, id) in ids.iter().enumerate() {
        if !(0..=i64::from(i32::MAX)).contains(id) {
            return Err(format!("has {id} at place {place} of `{ids_key}`; expected token ids"));
        }
    }
    let labels = integers(fields, &labels_key)?.unwrap_or_else(|| ids.clone());
    same_length(&labels_key, &labels, &ids)?;
    for (place, label) in labels.iter().enumerate() {
        if *label != i64::from(IGNORED) && !(0..=i64::from(i32::MAX)).contains(label) {
            return Err(format!(
                "has {label} at place {place} of `{labels_key}`; expected token ids, or -100 for what is not learned"
            ));
        }
    }
    let mask_key = format!("{prefix}attention_mask");
    let kept = match integers(fields, &mask_key)? {
        None => 0..ids.len(),
        Some(mask) => {
            same_length(&mask_key, &mask, &ids)?;
            unpadded(&mask)?
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

fn integers(fields: &Map<String, Value>, key: &str) -> Result<Option<Vec<i64>>, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) => values
            .iter()
            .enumerate()
            .map(|(place, value)| {
                value
                    .as_i64()
                    .ok_or_else(|| format!("has {value} at place {place} of `{key}`; expected whole numbers"))
            })
            .collect::<Result<_, _>>()
            .map(Some),
        Some(other) => Err(format!("has {} as `{key}`; expected a list of whole numbers", kind_of(other))),
    }
}

fn same_length(key: &str, values: &[i64], ids: &[i64]) -> Result<(), String> {
    if values.len() == ids.len() {
        return Ok(());
    }
    Err(format!("has {} `{key}` for {} tokens", values.len(), ids.len()))
}
