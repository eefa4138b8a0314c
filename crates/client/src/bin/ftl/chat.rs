//! `ftl chat`: a conversation with a model, or with what a job made.
//!
//! Each answer is asked for with the whole conversation before it. On a terminal Ctrl-C stops an answer, and Ctrl-D
//! leaves; elsewhere each line of stdin is a message.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, IsTerminal as _};

use ftl_client::Client;
use ftl_core::inference::{ChatMessage, FinishReason, InferenceRequest, Prompt, WeightsRef};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::connection::Context;
use crate::output::{CommandResult, Ended, Failure, Format, note, print, print_json, print_part};
use crate::sampling::SamplingArgs;
use crate::speak::{Answer, WeightsArgs, speak};

/// Forgets the conversation.
const RESET: &str = "/reset";
/// Leaves.
const EXIT: &str = "/exit";
const PROMPT: &str = "> ";

/// Flags of `chat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    weights: WeightsArgs,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Say this instead of asking for input; several are said one after the other.
    #[arg(long, short, value_name = "TEXT")]
    message: Vec<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> CommandResult {
    let Args { weights, system, message: messages, sampling } = args;
    let client = context.client().await?;
    let weights = weights.find(&client).await?;
    let mut chat = Chat {
        client,
        weights,
        sampling,
        system: system.map(|content| ChatMessage { role: "system".to_owned(), content }),
        history: Vec::new(),
        format: context.format,
        answers: Vec::new(),
        interrupts: signal(SignalKind::interrupt())?,
    };
    let mut said = if !messages.is_empty() {
        Said::Given(messages.into())
    } else if io::stdin().is_terminal() && io::stderr().is_terminal() {
        note(&format!("Ctrl-C stops an answer, {RESET} forgets the conversation, {EXIT} or Ctrl-D leaves"));
        Said::Typed(lines())
    } else {
        Said::Piped(lines())
    };
    let ended = chat.go_on(&mut said).await?;
    if context.format == Format::Json {
        print_json(&json!({"messages": chat.messages(), "answers": chat.answers}))?;
    }
    Ok(ended)
}

/// Where the user's messages come from.
enum Said {
    /// The command line.
    Given(VecDeque<String>),
    /// A terminal.
    Typed(mpsc::Receiver<io::Result<String>>),
    /// A file or a pipe.
    Piped(mpsc::Receiver<io::Result<String>>),
}

struct Chat {
    client: Client,
    weights: WeightsRef,
    sampling: SamplingArgs,
    system: Option<ChatMessage>,
    /// What was said so far, by turns.
    history: Vec<ChatMessage>,
    format: Format,
    answers: Vec<Value>,
    interrupts: Signal,
}

/// What the user does next.
enum Turn {
    Say(String),
    /// Ctrl-C where there was no answer to stop.
    Interrupt,
    End,
}

impl Chat {
    async fn go_on(&mut self, said: &mut Said) -> CommandResult {
        loop {
            let is_typed = matches!(said, Said::Typed(_));
            let message = match self.next(said).await? {
                Turn::Say(message) => message,
                Turn::Interrupt if is_typed => {
                    note(&format!("\n{EXIT} or Ctrl-D leaves"));
                    continue;
                }
                Turn::Interrupt => return Ok(Ended::Left(SignalKind::interrupt())),
                Turn::End => {
                    if is_typed {
                        // The shell's prompt goes on a line of its own.
                        note("");
                    }
                    return Ok(Ended::Done);
                }
            };
            match message.trim() {
                "" => {}
                EXIT => return Ok(Ended::Done),
                RESET => {
                    self.history.clear();
                    note("the conversation is forgotten");
                }
                _ => {
                    let answered = self.answer(message).await;
                    match (answered, is_typed) {
                        (Ok(Heard::Whole), _) | (Ok(Heard::Cut), true) => {}
                        (Ok(Heard::Cut), false) => return Ok(Ended::Left(SignalKind::interrupt())),
                        // The conversation can go on: the user may shorten the message.
                        (Err(failure @ Failure::Client(_)), true) => {
                            for problem in failure.told().problems {
                                note(&format!("error: {}", crate::output::line(&problem)));
                            }
                        }
                        (Err(failure), _) => return Err(failure),
                    }
                }
            }
        }
    }

    async fn next(&mut self, said: &mut Said) -> io::Result<Turn> {
        let lines = match said {
            Said::Given(messages) => return Ok(messages.pop_front().map_or(Turn::End, Turn::Say)),
            Said::Typed(lines) => {
                print_prompt()?;
                lines
            }
            Said::Piped(lines) => lines,
        };
        tokio::select! {
            _ = self.interrupts.recv() => Ok(Turn::Interrupt),
            line = lines.recv() => line.transpose().map(|line| line.map_or(Turn::End, Turn::Say)),
        }
    }

    /// Says something and prints what the model answers. What can't be answered was not said.
    async fn answer(&mut self, message: String) -> Result<Heard, Failure> {
        self.history.push(ChatMessage { role: "user".to_owned(), content: message.clone() });
        let request = InferenceRequest {
            weights: self.weights.clone(),
            prompt: Prompt::Messages(self.messages()),
            sampling: self.sampling.spec(),
            device: self.sampling.device.clone(),
        };
        let mut answer = Answer::default();
        let spoken = tokio::select! {
            spoken = speak(&self.client, &request, self.format, &mut answer) => spoken.map(|()| Heard::Whole),
            // Dropping the answer stops it.
            _ = self.interrupts.recv() => Ok(Heard::Cut),
        };
        if self.format == Format::Text && !answer.text.is_empty() {
            print("")?;
        }
        let heard = match spoken {
            Ok(heard) => heard,
            Err(failure) => {
                self.history.pop();
                return Err(failure);
            }
        };
        match answer.stop_reason {
            None | Some(FinishReason::Stopped) => note("[stopped]"),
            Some(FinishReason::MaxNewTokens) => note("[cut at --max-new-tokens]"),
            Some(FinishReason::ContextFull) => note("[the model's context is full; /reset begins anew]"),
            Some(FinishReason::Eos) => {}
        }
        self.history.push(ChatMessage { role: "assistant".to_owned(), content: answer.text.clone() });
        let mut told = json!(answer);
        if let Value::Object(told) = &mut told {
            told.shift_insert(0, "message".to_owned(), message.into());
        }
        self.answers.push(told);
        Ok(heard)
    }

    /// The conversation as the model is given it.
    fn messages(&self) -> Vec<ChatMessage> {
        self.system.iter().chain(&self.history).cloned().collect()
    }
}

/// How much of an answer came.
enum Heard {
    Whole,
    /// The user stopped it.
    Cut,
}

/// The prompt goes where the user looks, and not into the result.
fn print_prompt() -> io::Result<()> {
    if io::stdout().is_terminal() {
        return print_part(PROMPT);
    }
    Ok(())
}

/// The lines of stdin, read by a thread that waits for them while answers come.
fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (send, receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receive
}
