//! Tasks about data: judging them, showing a row, dividing them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ftl_core::dataset::{CheckProgress, DataCheck, RenderedRow, RenderedText, RenderedToken, SplitBy};
use ftl_core::spec::resolved::{DataFormat, LossOn};
use ftl_core::spec::{AdapterKind, AdapterSpec, MethodKind, MethodSpec, ModelSpec};
use ftl_core::{CheckedSpec, Event, JobSpec, Problem, StopReason, StopSignal};
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::render;
use ftl_trainer::data::report::{self, CheckRequest, Fingerprint, ModelFiles};
use ftl_trainer::data::split::{self, SplitRequest};

use super::link::Link;
use super::small::Trouble;
use crate::worker::frame::FrameError;
use crate::worker::message::FromWorker;

/// How often it is told how far a check has come; more often nobody can read.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A row that is to be shown.
pub(super) struct Sample {
    pub(super) path: PathBuf,
    pub(super) format: DataFormat,
    pub(super) row: u64,
    pub(super) model: PathBuf,
    pub(super) chat_template: Option<PathBuf>,
}

/// A file that is to be divided.
pub(super) struct Division {
    pub(super) path: PathBuf,
    pub(super) format: DataFormat,
    pub(super) by: SplitBy,
    pub(super) train: PathBuf,
    pub(super) eval: PathBuf,
}

pub(super) fn check(link: &Link, check: &DataCheck) -> Result<(), Trouble> {
    let spec = job(check)?;
    let files =
        check.model.as_ref().map(|model| ModelFiles::of_directory(model.as_ref(), &spec)).transpose()?;
    let request = CheckRequest {
        data: &spec.data,
        model: files.as_ref().map(|files| files.side(&spec.data)),
        train: files.as_ref().map(|_| &spec.train),
        seed: spec.train.seed,
        fingerprint: Fingerprint::Sha256,
    };
    let stop = StopSignal::new();
    let mut told = Told { link, stop: stop.clone(), last: None, failed: None };
    let found = report::check(&request, &mut |event: &Event| told.tell(event), &stop);
    if let Some(error) = told.failed {
        return Err(error.into());
    }
    Ok(link.send(&FromWorker::Report(Box::new(found?)))?)
}

/// A job over these data of which nothing else counts.
fn job(check: &DataCheck) -> Result<CheckedSpec, Vec<Problem>> {
    let DataCheck { data, model } = check;
    let kind = match data.format {
        Some(DataFormat::Preference) => MethodKind::Dpo,
        Some(
            DataFormat::Auto
            | DataFormat::Messages
            | DataFormat::Sharegpt
            | DataFormat::Alpaca
            | DataFormat::PromptCompletion
            | DataFormat::QuestionAnswer
            | DataFormat::Text
            | DataFormat::Tokens,
        )
        | None => MethodKind::Sft,
    };
    // Without a model there is none to open; a spec must name one all the same.
    let model = model.as_deref().unwrap_or("/");
    let spec = JobSpec {
        model: ModelSpec { path: Some(model.into()), ..ModelSpec::default() },
        data: data.clone(),
        method: MethodSpec { kind: Some(kind), ..MethodSpec::default() },
        adapter: AdapterSpec { kind: Some(AdapterKind::Lora), ..AdapterSpec::default() },
        ..JobSpec::default()
    };
    spec.check()
}

/// Tells the server how far it is; where that does not listen any more, stops the work.
struct Told<'a> {
    link: &'a Link,
    stop: StopSignal,
    last: Option<Instant>,
    failed: Option<FrameError>,
}

impl Told<'_> {
    fn tell(&mut self, event: &Event) {
        let Event::Phase { phase, done, total, unit } = event else { return };
        if self.failed.is_some() || self.last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let progress = CheckProgress { phase: *phase, done: *done, total: *total, unit: unit.clone() };
        if let Err(error) = self.link.send(&FromWorker::CheckProgress(progress)) {
            self.stop.raise(StopReason::User);
            self.failed = Some(error);
        }
    }
}

pub(super) fn render(link: &Link, sample: &Sample) -> Result<(), Trouble> {
    let Sample { path, format, row, model, chat_template } = sample;
    let encoder = Encoder::load(model, chat_template.as_deref())?;
    let rendered = render::row((path, *row), *format, &encoder, LossOn::AssistantTokens)?;
    Ok(link.send(&FromWorker::Rendered(shown(*row, rendered)))?)
}

/// A row as the service tells it.
fn shown(number: u64, rendered: render::RenderedRow) -> RenderedRow {
    let render::RenderedRow { texts, notices: _ } = rendered;
    let roles: &[&str] = if texts.len() == 1 { &["text"] } else { &["chosen", "rejected"] };
    let texts = roles.iter().zip(texts).map(|(role, render::RenderedText { text, tokens })| RenderedText {
        role: (*role).to_owned(),
        text,
        tokens: tokens
            .into_iter()
            .map(|render::RenderedToken { id, text, is_control: _, weight }| RenderedToken {
                id,
                text,
                is_trained: weight > 0.0,
            })
            .collect(),
    });
    RenderedRow { number, texts: texts.collect() }
}

pub(super) fn split(division: &Division) -> Result<(), Trouble> {
    let Division { path, format, by, train, eval } = division;
    let request = SplitRequest { path, format: *format, by: *by, train, eval };
    split::split(&request, &mut |_: &Event| {}, &StopSignal::new())?;
    Ok(())
}
