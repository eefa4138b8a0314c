//! The worker's side: reads its task from fd 3, does it, and ends with one of the codes of [`exit`](super::exit).

mod checkpoint;
mod data;
mod infer;
mod link;
mod small;
mod train;

use std::any::Any;
use std::backtrace::Backtrace;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::panic::{self, PanicHookInfo, UnwindSafe};
use std::process::ExitCode;
use std::thread;

use super::exit;
use super::frame;
use super::message::{FromWorker, Task, ToWorker};
use link::{Link, from_server};

/// Runs `ftl-server worker`: to be called before other threads exist, with what follows the word `worker`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ftl_trainer::device::keep_heap();
    ftl_trainer::device::prepare();
    if args.into_iter().next().is_some() {
        return unusable("`worker` takes no arguments; it is started by the server");
    }
    let mut socket = match from_server() {
        Ok(socket) => socket,
        Err(error) => return unusable(&format!("`worker` is started by the server alone: {error}")),
    };
    let (nonce, task) = match frame::read::<ToWorker>(&mut socket) {
        Ok(Some(ToWorker::Task { nonce, task })) => (nonce, task),
        Ok(Some(ToWorker::Stop | ToWorker::Save | ToWorker::Ask { .. } | ToWorker::Abort { .. })) => {
            return unusable("the first frame is not a task");
        }
        // The server went away before it said anything.
        Ok(None) => return ExitCode::from(exit::DONE),
        Err(error) => return unusable(&format!("the task can't be read: {error}")),
    };
    let link = match Link::new(socket) {
        Ok(link) => link,
        Err(error) => return unusable(&format!("the socket can't be used: {error}")),
    };
    ExitCode::from(guarded(move || match task {
        Task::Train { spec, directory, attempt, from, given } => {
            train::run(link, nonce, train::Assignment { spec: *spec, directory, attempt, from, given })
        }
        Task::InspectModel { path } => small::run(&link, nonce, |link| small::inspect_model(link, &path)),
        Task::CheckData { check } => small::run(&link, nonce, |link| data::check(link, &check)),
        Task::RenderSample { path, format, row, model, chat_template } => {
            let sample = data::Sample { path, format, row, model, chat_template };
            small::run(&link, nonce, |link| data::render(link, &sample))
        }
        Task::SplitData { path, format, by, train, eval } => {
            small::run(&link, nonce, |_| data::split(&data::Division { path, format, by, train, eval }))
        }
        Task::Preview { path, format, after_row, n_rows } => {
            small::run(&link, nonce, |link| small::preview(link, &path, format, (after_row, n_rows)))
        }
        Task::PlanMemory { spec } => small::run(&link, nonce, |link| small::plan_memory(link, &spec)),
        Task::VerifyCheckpoint { path } => {
            small::run(&link, nonce, |link| checkpoint::verify_checkpoint(link, &path))
        }
        Task::ExportCheckpoint { path, to } => {
            small::run(&link, nonce, |link| checkpoint::export(link, &path, &to))
        }
        Task::Infer { model, adapter, device } => {
            infer::run(link, nonce, &infer::Weights { model, adapter, device })
        }
    }))
}

/// Runs a task; a panic becomes [`exit::PANICKED`], and the log ends with its message.
pub fn guarded(task: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    panic::set_hook(Box::new(report));
    panic::catch_unwind(task).unwrap_or(exit::PANICKED)
}

/// Writes the message behind the backtrace: the server shows the end of the log.
fn report(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
    let name = thread::current().name().unwrap_or("unnamed").to_owned();
    let said = format!(
        "{}\nthread `{name}` panicked at {place}: {}\n",
        Backtrace::force_capture(),
        payload(panic.payload())
    );
    // Where it can't be written, the exit code still says it.
    let _ = std::io::stderr().write_all(said.as_bytes());
}

fn payload(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Writes a line into the log. Where the disk is full there is none; `eprintln!` would panic, just when the run has to save.
fn say(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

fn unusable(message: &str) -> ExitCode {
    say(message);
    ExitCode::from(exit::USAGE)
}

/// Says who and where the worker is.
fn hello(nonce: String) -> FromWorker {
    FromWorker::Hello { nonce, pid: std::process::id() }
}
