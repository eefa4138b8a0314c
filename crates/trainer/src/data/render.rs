//! A row as training sees it: its tokens one by one, what each says, and which of them are learned.
//!
//! For people who want to look, one row at a time; what a whole file comes to is the [report](super::report)'s business.

use std::path::Path;

use ftl_core::dataset::Code;
use ftl_core::job::Phase;
use ftl_core::spec::resolved::{Data, DataFormat, LossOn};
use ftl_core::{Event, Observer, Problem, ProblemKind, StopSignal};

use super::encode::{Encoded, Encoder, Refusal};
use super::fault::Fault;
use super::format::Example;
use super::judge::Spellings;
use super::pass::{Broken, Consumer, Input, Judged, Opened, Pass, Wanted};
use super::read::file_name;
use super::report::plain;
use super::sample::{IGNORED, Sample};
use super::tokenize::Specials;

/// A row as training sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedRow {
    /// Its text; of a pair that with the chosen and that with the rejected answer.
    pub texts: Vec<RenderedText>,
    /// What a person should know of it.
    pub notices: Vec<Fault>,
}

/// A text as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedText {
    /// What all tokens say together.
    pub text: String,
    /// In order.
    pub tokens: Vec<RenderedToken>,
}

/// A token with what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedToken {
    /// Its id.
    pub id: u32,
    /// What it adds to the text; empty where it is a part of a character that a later one completes.
    pub text: String,
    /// Whether it is a control token.
    pub is_control: bool,
    /// How much the loss counts it; 0: it is not learned.
    pub weight: f32,
}

/// Renders row `number`, from 1, of a data file. Rows before it are read, but no tokens made of them.
///
/// # Errors
/// A file that can't be read, a row that is not there or can't be trained on, and a missing chat template.
pub fn row(
    (path, number): (&Path, u64),
    format: DataFormat,
    encoder: &Encoder,
    loss_on: LossOn,
) -> Result<RenderedRow, Problem> {
    if number == 0 {
        return Err(Problem::new(ProblemKind::InvalidValue, "rows count from 1").at("row"));
    }
    let pass = Pass {
        model: None,
        // The encoder says what it did with them.
        spellings: Spellings::none(),
        wanted: Wanted::Examples,
        phase: Phase::Validating,
    };
    let mut wanting = Wanting { number, found: None, broken: None };
    // No row's number is below its place.
    let data = Data { max_samples: Some(number), ..plain([path.to_owned()], format) };
    pass.all(&data, &mut wanting, (&mut Unwatched, &StopSignal::new()));
    let name = file_name(path);
    let refuse = |Fault { what, hint, .. }: Fault| Problem {
        hint,
        ..Problem::new(ProblemKind::BadData, format!("row {number} of `{name}` {what}"))
            .at(path.display().to_string())
    };
    match wanting {
        Wanting { broken: Some(Fault { what, hint, .. }), .. } => Err(Problem {
            hint,
            ..Problem::new(ProblemKind::BadData, format!("`{name}` {what}")).at(path.display().to_string())
        }),
        Wanting { found: Some(judged), .. } => {
            let Judged { example, mut faults, .. } = judged;
            let Some(example) = example else {
                let last = faults.pop().unwrap_or_else(|| Fault::new(Code::UnknownFormat, "can't be read"));
                return Err(refuse(last));
            };
            let mut rendered = example_with(encoder, &example, loss_on).map_err(|refusal| match refusal {
                Refusal::Row(fault) => refuse(fault),
                Refusal::Job(problem) => problem,
            })?;
            let seen = rendered.notices;
            faults.retain(|fault| seen.iter().all(|notice| notice.code != fault.code));
            faults.extend(seen);
            rendered.notices = faults;
            Ok(rendered)
        }
        Wanting { found: None, broken: None, .. } => {
            let message = format!("`{name}` has no row {number}");
            Err(Problem::new(ProblemKind::InvalidValue, message).at("row"))
        }
    }
}

/// Renders an example.
///
/// # Errors
/// What [`Encoder::sample`] says.
pub fn example_with(encoder: &Encoder, example: &Example, loss_on: LossOn) -> Result<RenderedRow, Refusal> {
    let Encoded { sample, notices } = encoder.sample(example, loss_on)?;
    let texts: Result<_, Problem> = sample.segments().map(|segment| text_of(encoder, segment)).collect();
    Ok(RenderedRow { texts: texts.map_err(Refusal::Job)?, notices })
}

fn text_of(encoder: &Encoder, sample: &Sample) -> Result<RenderedText, Problem> {
    let mut stream = encoder.tokenizer.stream(Specials::Shown);
    let mut tokens = Vec::with_capacity(sample.ids.len());
    for (index, (id, label)) in sample.ids.iter().zip(&sample.labels).enumerate() {
        let counted = sample.weights.as_ref().map_or(1.0, |weights| weights[index]);
        tokens.push(RenderedToken {
            id: *id,
            text: stream.push(*id)?,
            is_control: encoder.tokenizer.is_special(*id),
            weight: if *label == IGNORED { 0.0 } else { counted },
        });
    }
    let rest = stream.finish()?;
    if let Some(last) = tokens.last_mut() {
        last.text.push_str(&rest);
    }
    Ok(RenderedText { text: tokens.iter().map(|token| token.text.as_str()).collect(), tokens })
}

/// One row takes a moment; nobody watches.
struct Unwatched;

impl Observer for Unwatched {
    fn observe(&mut self, _event: &Event) {}
}

/// Waits for one row.
struct Wanting {
    number: u64,
    found: Option<Judged>,
    broken: Option<Fault>,
}

impl Consumer for Wanting {
    fn begin(&mut self, _: &Input<'_>) {}

    fn opened(&mut self, _: &Opened) {}

    fn broken(&mut self, broken: Broken) {
        self.broken = self.broken.take().or(Some(broken.fault));
    }

    fn closed(&mut self, _: Vec<String>) {}

    fn row(&mut self, row: Judged) {
        if row.number == self.number {
            self.found = Some(row);
        }
    }

    fn is_hopeless(&self) -> bool {
        self.found.is_some()
    }
}
