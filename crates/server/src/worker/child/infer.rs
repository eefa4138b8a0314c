//! Loads weights once, then answers one question after another until the server goes away.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use ftl_core::inference::{ChatMessage, InferencePart, Prompt, SamplingSpec};
use ftl_core::spec::resolved::{DeviceKind, ModelDtype};
use ftl_core::{Problem, ProblemKind, StopReason, StopSignal};
use ftl_trainer::adapter::open::{attach_directory, open_encoder};
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::format::Conversation;
use ftl_trainer::data::tokenize::Specials;
use ftl_trainer::device;
use ftl_trainer::generate::prompt::{chat_prompt, stop_ids, text_prompt};
use ftl_trainer::generate::{self, GenerateOptions, generate, room};
use ftl_trainer::model::decoder::Decoder;
use ftl_trainer::model::open::{Start, open_decoder};
use serde_json::json;

use super::link::{Link, Standing, lock};
use super::small::Trouble;
use super::{hello, say};
use crate::worker::exit;
use crate::worker::message::{FromWorker, ToWorker};

/// Which weights answer, and where.
pub(super) struct Weights {
    pub(super) model: PathBuf,
    pub(super) adapter: Option<PathBuf>,
    pub(super) device: String,
}

struct Question {
    id: u64,
    prompt: Prompt,
    sampling: SamplingSpec,
    stop: StopSignal,
}

/// Answers until the server goes away.
pub(super) fn run(link: Link, nonce: String, weights: &Weights) -> u8 {
    match answer_all(&link, nonce, weights) {
        Ok(()) => exit::DONE,
        Err(Trouble::Refused(problems)) => {
            if let Err(error) = link.send(&FromWorker::Refused { problems }) {
                say(format_args!("the server is gone: {error}"));
            }
            exit::REFUSED
        }
        // Nobody is left to answer.
        Err(Trouble::Unsent(_)) => exit::DONE,
    }
}

fn answer_all(link: &Link, nonce: String, weights: &Weights) -> Result<(), Trouble> {
    link.send(&hello(nonce))?;
    let no_thread = |error: std::io::Error| {
        Problem::new(ProblemKind::Worker, format!("a thread can't be started: {error}"))
    };
    // How long an answer takes is judged by whoever waits for it.
    link.beat(Arc::new(Standing::default()), StopSignal::new()).map_err(no_thread)?;
    let questions = listen(link).map_err(no_thread)?;
    let mut speaker = Speaker::load(weights)?;
    for question in questions {
        speaker.answer(link, &question)?;
    }
    Ok(())
}

/// Questions as they come. The end of the server ends the process at once: there is nothing to save.
fn listen(link: &Link) -> std::io::Result<mpsc::Receiver<Question>> {
    let (sender, questions) = mpsc::channel();
    let asked: Mutex<Option<(u64, StopSignal)>> = Mutex::new(None);
    link.listen(move |message| match message {
        Some(ToWorker::Ask { id, prompt, sampling }) => {
            let stop = StopSignal::new();
            *lock(&asked) = Some((id, stop.clone()));
            // The receiver lives as long as the process.
            let _ = sender.send(Question { id, prompt, sampling, stop });
        }
        Some(ToWorker::Abort { id }) => {
            if let Some((_, stop)) = lock(&asked).as_ref().filter(|(asked, _)| *asked == id) {
                stop.raise(StopReason::User);
            }
        }
        Some(ToWorker::Task { .. } | ToWorker::Stop | ToWorker::Save) => {
            say(format_args!("the server sent a frame that is meant for another task"));
        }
        None => std::process::exit(i32::from(exit::DONE)),
    })?;
    Ok(questions)
}

struct Speaker<'a> {
    weights: &'a Weights,
    decoder: Decoder,
    encoder: Encoder,
    device: String,
    stop_ids: Vec<u32>,
}

impl<'a> Speaker<'a> {
    fn load(weights: &'a Weights) -> Result<Self, Vec<Problem>> {
        let Weights { model, adapter, device } = weights;
        let one = |problem: Problem| vec![problem];
        let kind: DeviceKind = device.parse().map_err(|problem: Problem| one(problem.at("device")))?;
        let open = device::open(kind, ModelDtype::Auto).map_err(one)?;
        let encoder = open_encoder(model, adapter.as_deref()).map_err(one)?;
        let mut decoder = open_decoder(model, Start::Pretrained, &open)?;
        if let Some(adapter) = adapter {
            attach_directory(&mut decoder, adapter)?;
        }
        let mut stop_ids = stop_ids(model, &decoder.config, Some(&encoder.tokenizer)).map_err(one)?;
        stop_ids.extend(encoder.turn_end());
        Ok(Self { weights, decoder, encoder, device: open.name.to_string(), stop_ids })
    }

    fn answer(&mut self, link: &Link, question: &Question) -> Result<(), Trouble> {
        let id = question.id;
        match self.speak(link, question) {
            Err(Trouble::Refused(problems)) => Ok(link.send(&FromWorker::AnswerRefused { id, problems })?),
            Ok(()) => Ok(()),
            Err(error @ Trouble::Unsent(_)) => Err(error),
        }
    }

    fn speak(&mut self, link: &Link, question: &Question) -> Result<(), Trouble> {
        let Question { id, prompt, sampling, stop } = question;
        let ids = self.ids(prompt)?;
        let options = GenerateOptions::new(sampling, self.stop_ids.clone());
        options.check()?;
        room(&self.decoder, &ids)?;
        self.decoder.reserve_positions(options.n_positions(&self.decoder, ids.len()));
        let part = |part: InferencePart| link.send(&FromWorker::Part { id: *id, part });
        part(InferencePart::Started { device: self.device.clone(), prompt_tokens: ids.len() as u64 })?;

        let mut stream = self.encoder.tokenizer.stream(Specials::Hidden);
        let mut failed: Option<Trouble> = None;
        let mut first = None;
        let mut say = |id: u32| {
            first.get_or_insert_with(Instant::now);
            if failed.is_some() || self.stop_ids.contains(&id) {
                return;
            }
            let said = stream.push(id).map_err(Trouble::from).and_then(|text| match text.is_empty() {
                true => Ok(()),
                false => part(InferencePart::Text { text }).map_err(Trouble::from),
            });
            if let Err(trouble) = said {
                stop.raise(StopReason::User);
                failed = Some(trouble);
            }
        };
        let prompt = generate::Prompt { ids: &ids, index: 0 };
        let generated = generate(&self.decoder, prompt, &options, (&mut say, stop))?;
        let elapsed_millis = first.map_or(0, |first| first.elapsed().as_millis() as u64);
        if let Some(trouble) = failed {
            return Err(trouble);
        }
        let text = stream.finish()?;
        if !text.is_empty() {
            part(InferencePart::Text { text })?;
        }
        part(InferencePart::Finished {
            stop_reason: generated.stop_reason.into(),
            new_tokens: generated.ids.len() as u64,
            elapsed_millis,
        })?;
        Ok(())
    }

    fn ids(&self, prompt: &Prompt) -> Result<Vec<u32>, Problem> {
        match prompt {
            Prompt::Text(text) => text_prompt(&self.encoder.tokenizer, text, &self.decoder.config),
            Prompt::Messages(messages) => {
                let message =
                    |ChatMessage { role, content }: &ChatMessage| json!({"role": role, "content": content});
                let messages = messages.iter().map(message).collect();
                let conversation = Conversation::from_parts(&messages, None).map_err(|what| {
                    Problem::new(ProblemKind::InvalidValue, format!("the conversation {what}")).at("messages")
                })?;
                chat_prompt(&self.encoder, &conversation, &self.weights.model)
            }
        }
    }
}
