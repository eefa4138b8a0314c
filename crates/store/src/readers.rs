//! The four threads that read, each with a connection that can't write. A question is answered from one snapshot.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use diesel::prelude::*;
use diesel::result::Error;
use tracing::{error, warn};

use crate::connection::Location;
use crate::error::StoreError;
use crate::fault::{Fault, Outcome};
use crate::reply::Answer;
use crate::writer::panic_text;

/// More would wait for the disk or the CPU; fewer would let one long replay hold up short questions.
const N_READERS: usize = 4;

/// A question. It finds a connection or the reason why there is none, and says whether the connection is still good.
pub(crate) type Question = Box<dyn FnOnce(Result<&mut SqliteConnection, StoreError>) -> Condition + Send>;

/// What is left of a connection after a question.
#[derive(PartialEq)]
pub(crate) enum Condition {
    Good,
    Broken,
}

/// What a question is asked in.
#[derive(Clone, Copy)]
pub(crate) enum Snapshot {
    /// A transaction: all statements see the same.
    One,
    /// None, for what SQLite refuses to do in a transaction.
    None,
}

/// Starts the threads. They end when the sender is dropped.
pub(crate) fn start(location: &Location) -> Result<(Sender<Question>, Vec<JoinHandle<()>>), StoreError> {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let threads: std::io::Result<Vec<_>> = (1..=N_READERS)
        .map(|number| {
            let (location, receiver) = (location.clone(), Arc::clone(&receiver));
            let thread = std::thread::Builder::new().name(format!("store-reader-{number}"));
            thread.spawn(move || run(&location, &receiver))
        })
        .collect();
    Ok((sender, threads.map_err(|error| StoreError::Io(error.to_string()))?))
}

/// Makes a question of a function.
pub(crate) fn question<T: Send + 'static>(
    snapshot: Snapshot,
    work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
    answer: Answer<T>,
) -> Question {
    Box::new(move |connection| {
        let asked = catch_unwind(AssertUnwindSafe(|| match (connection, snapshot) {
            (Ok(connection), Snapshot::One) => in_one_snapshot(connection, work),
            (Ok(connection), Snapshot::None) => work(connection).map_err(|Fault(error)| error),
            (Err(error), Snapshot::One | Snapshot::None) => Err(error),
        }));
        let result = asked.unwrap_or_else(|panic| Err(panicked(panic.as_ref()).0));
        let left = match &result {
            Err(error) if error.is_of_sqlite() => Condition::Broken,
            Ok(_) | Err(_) => Condition::Good,
        };
        // Nobody waits any more.
        let _ = answer.send(result);
        left
    })
}

fn in_one_snapshot<T>(
    connection: &mut SqliteConnection,
    work: impl FnOnce(&mut SqliteConnection) -> Outcome<T>,
) -> Result<T, StoreError> {
    // Kept here: where SQLite has ended the transaction by itself, diesel's rollback fails, and its error would take
    // the place of the cause.
    let mut cause = None;
    let read = connection.transaction(|connection| {
        work(connection).map_err(|Fault(error)| {
            cause = Some(error);
            Error::RollbackTransaction
        })
    });
    read.map_err(|error| cause.unwrap_or_else(|| Fault::from(error).0))
}

fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let text = panic_text(panic);
    error!(panic = text, "a thread that reads panicked, and goes on");
    Fault(StoreError::Panicked(text.to_owned()))
}

fn run(location: &Location, questions: &Mutex<Receiver<Question>>) {
    let mut connection = None;
    loop {
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { return };
        if connection.is_none() {
            let opening = catch_unwind(|| location.open_to_read());
            match opening.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
                Ok(opened) => connection = Some(opened),
                Err(Fault(error)) => {
                    question(Err(error));
                    continue;
                }
            }
        }
        let Some(open) = connection.as_mut() else { continue };
        if question(Ok(open)) == Condition::Broken {
            // diesel panics where SQLite does not like to close.
            if catch_unwind(AssertUnwindSafe(|| drop(connection.take()))).is_err() {
                warn!("a reader's connection did not close");
            }
        }
    }
}
