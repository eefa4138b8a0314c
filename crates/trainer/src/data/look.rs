//! One row of a data file as a model is trained on it, for a person to look at: text, tokens, and which of them the loss
//! counts. Nothing is cut off.

use std::path::Path;

use ftl_core::dataset::{RenderedRow, RenderedText, RenderedToken};
use ftl_core::spec::resolved::{DataFormat, LossOn};
use ftl_core::{Problem, ProblemKind};

use super::encode::{Encoder, Refusal};
use super::format::{Asked, example};
use super::read::{Rows, file_name};
use super::sample::{IGNORED, Sample};
use super::survey::first_layout;
use super::tokenize::{Specials, Tokenizer};

/// The row with this number, counted from 1, as the loss on the assistant's tokens sees it.
///
/// # Errors
/// A file that can't be read, a row that is not there or can't be trained on, and what the template refuses.
pub fn look(path: &Path, format: DataFormat, number: u64, encoder: &Encoder) -> Result<RenderedRow, Problem> {
    let absent = |message: String| Err(Problem::new(ProblemKind::InvalidValue, message).at("row"));
    if number == 0 {
        return absent("rows count from 1".to_owned());
    }
    let layout = first_layout(path, &Asked::of(format))?;
    let mut rows = Rows::open(path)?;
    rows.skip_to(number - 1)?;
    let Some(row) = rows.next() else {
        return absent(format!("`{}` has no row {number}", file_name(path)));
    };
    // Blank lines have numbers and are no rows.
    if rows.number() != number {
        return absent(format!("line {number} of `{}` is empty", file_name(path)));
    }
    let row = row?;
    let Some(layout) = layout else {
        return Err(row.place.problem("shows no format"));
    };
    let (example, _) = example(&row.value, &layout).map_err(|fault| row.place.problem(fault))?;
    let encoded = encoder.sample(&example, LossOn::AssistantTokens).map_err(|refusal| match refusal {
        Refusal::Row(fault) => row.place.problem(fault),
        Refusal::Job(problem) => problem,
    })?;
    let sample = encoded.sample;
    let segments = sample.segments().enumerate().map(|(index, segment)| {
        let role = match (&sample.rejected, index) {
            (None, _) => "text",
            (Some(_), 0) => "chosen",
            (Some(_), _) => "rejected",
        };
        rendered(role, segment, &encoder.tokenizer)
    });
    Ok(RenderedRow { number, texts: segments.collect::<Result<_, _>>()? })
}

fn rendered(role: &str, sample: &Sample, tokenizer: &Tokenizer) -> Result<RenderedText, Problem> {
    let Sample { ids, labels, weights: _, rejected: _ } = sample;
    // Piece by piece, so that the pieces together are the text: a letter of several tokens belongs to the last of them.
    let mut stream = tokenizer.stream(Specials::Shown);
    let mut tokens = Vec::new();
    for (id, label) in ids.iter().zip(labels) {
        let text = stream.push(*id)?;
        tokens.push(RenderedToken { id: *id, text, is_trained: *label != IGNORED });
    }
    let rest = stream.finish()?;
    if let Some(last) = tokens.last_mut() {
        last.text.push_str(&rest);
    }
    let text = tokens.iter().map(|token| token.text.as_str()).collect();
    Ok(RenderedText { role: role.to_owned(), text, tokens })
}
