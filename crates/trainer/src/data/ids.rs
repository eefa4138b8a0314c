//! The document of `--ids`: rows of tokens from elsewhere, with masks, labels and positions.
//!
//! `{"input_ids": [[…]], "attention_mask": [[…]]?, "labels": [[…]]?, "position_ids": [[…]]?}`; rows may differ in
//! length. Padding at the start or the end of a row is left out, positions that restart begin a new segment, and
//! each row remembers where its tokens stood.

use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde::Deserialize;

use super::batch::Batch;
use super::format::unpadded;
use super::sample::IGNORED;

/// One row of the document.
#[derive(Clone, Debug, PartialEq)]
pub struct IdsRow {
    /// Its tokens without padding.
    pub batch: Batch,
    /// For each token of `batch` its place in the row as given.
    pub places: Vec<usize>,
    /// Tokens of the row as given, padding included.
    pub n_given: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    input_ids: Vec<Vec<i64>>,
    attention_mask: Option<Vec<Vec<i64>>>,
    labels: Option<Vec<Vec<i64>>>,
    position_ids: Option<Vec<Vec<i64>>>,
}

/// Reads the document at `path`.
///
/// # Errors
/// [`ProblemKind::NotFound`] or [`ProblemKind::BadData`], naming the file and the rows.
pub fn read(path: &Path, vocab_size: usize) -> Result<Vec<IdsRow>, Vec<Problem>> {
    let field = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![
            Problem::new(ProblemKind::NotFound, format!("the file can't be read: {error}")).at(field.clone()),
        ]
    })?;
    parse(&text, vocab_size).map_err(|problems| {
        problems
            .into_iter()
            .map(|problem| Problem::new(ProblemKind::BadData, problem).at(field.clone()))
            .collect()
    })
}

/// Reads a document.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(text: &str, vocab_size: usize) -> Result<Vec<IdsRow>, Vec<String>> {
    let Document { input_ids, attention_mask, labels, position_ids } = serde_json::from_str(text)
        .map_err(|error| vec![format!("the document of ids can't be read: {error}")])?;
    let mut problems = Vec::new();
    if input_ids.is_empty() {
        problems.push("`input_ids` has no rows".to_owned());
    }
    for (name, rows) in
        [("attention_mask", &attention_mask), ("labels", &labels), ("position_ids", &position_ids)]
    {
        let Some(rows) = rows else { continue };
        if rows.len() != input_ids.len() {
            problems.push(format!("`{name}` has {} rows, `input_ids` has {}", rows.len(), input_ids.len()));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut rows = Vec::new();
    for (index, ids) in input_ids.iter().enumerate() {
        let of = |rows: &Option<Vec<Vec<i64>>>| rows.as_ref().map(|rows| rows[index].clone());
        let given =
            Given { ids, mask: of(&attention_mask), labels: of(&labels), positions: of(&position_ids) };
        match given.row(vocab_size) {
            Ok(row) => rows.push(row),
            Err(what) => problems.push(format!("row {index} {what}")),
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

struct Given<'a> {
    ids: &'a [i64],
    mask: Option<Vec<i64>>,
    labels: Option<Vec<i64>>,
    positions: Option<Vec<i64>>,
}

impl Given<'_> {
    fn row(self, vocab_size: usize) -> Result<IdsRow, String> {
        let Self { ids, mask, labels, positions } = self;
        let in_vocabulary = |id: i64| usize::try_from(id).is_ok_and(|id| id < vocab_size);
        if ids.is_empty() {
            return Err("has no tokens".to_owned());
        }
        for (name, values) in [("attention_mask", &mask), ("labels", &labels), ("position_ids", &positions)] {
            if let Some(values) = values
                && values.len() != ids.len()
            {
                return Err(format!("has {} `{name}` for {} tokens", values.len(), ids.len()));
            }
        }
        let kept = match &mask {
            None => 0..ids.len(),
            Some(mask) => unpadded(mask)?,
        };
        let labels = labels.unwrap_or_else(|| ids.to_vec());
        for place in kept.clone() {
            if !in_vocabulary(ids[place]) {
                return Err(format!(
                    "has the id {} at place {place}; the vocabulary has {vocab_size} ids from 0",
                    ids[place]
                ));
            }
            if labels[place] != i64::from(IGNORED) && !in_vocabulary(labels[place]) {
                return Err(format!(
                    "has the label {} at place {place}; expected an id below {vocab_size}, or -100",
                    labels[place]
                ));
            }
        }
        let positions: Vec<i64> = match positions {
            None => (0..kept.len() as i64).collect(),
            Some(positions) => positions[kept.clone()].to_vec(),
        };
        if let Some(position) = positions.iter().find(|position| u32::try_from(**position).is_err()) {
            return Err(format!("has the position {position}; expected 0 or more"));
        }
        let mut batch = Batch::default();
        let mut start = 0;
        for end in 1..=positions.len() {
            if end == positions.len() || positions[end] <= positions[end - 1] {
                let segment = kept.start + start..kept.start + end;
                let ids: Vec<u32> = ids[segment.clone()].iter().map(|id| *id as u32).collect();
                let labels: Vec<i32> = labels[segment].iter().map(|label| *label as i32).collect();
                batch.push(&ids, &labels);
                start = end;
            }
        }
        batch.positions = positions.into_iter().map(|position| position as u32).collect();
        Ok(IdsRow { batch, places: kept.collect(), n_given: ids.len() })
    }
}
