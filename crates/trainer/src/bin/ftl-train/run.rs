//! `ftl-train run`: one job in the foreground.

use std::path::{Path, PathBuf};

use ftl_core::job::State;
use ftl_core::plan::shown;
use ftl_core::spec::resolved::DeviceKind;
use ftl_core::{
    CheckedSpec, Event, JobSpec, Observer, Problem, ProblemKind, SaveSignal, Signals, StopReason, StopSignal,
};
use ftl_trainer::checkpoint::layout::EVENTS_JSONL;
use ftl_trainer::error::TrainError;
use ftl_trainer::train::event_log::EventLog;
use ftl_trainer::train::{Begin, MemoryUse, Outcome, Summary, train};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::output::{CommandResult, DeviceArg, Ended, Format, note, print};
use crate::progress::Progress;

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job's spec, TOML, JSON or YAML.
    spec: PathBuf,
    /// The directory that the run writes to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Change a key of the spec: `--set train.learning_rate=1e-4`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Go on from the newest valid checkpoint in DIR.
    #[arg(long)]
    resume: bool,
    /// Start from a checkpoint of another run, such as `runs/a/checkpoint-500`: the spec may change all that leaves the
    /// meaning of its weights and moments as it is (learning rate, schedule, steps, batch, data, …); steps count on.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Write one event per line to FILE, beside `events.jsonl` in DIR.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let Args { spec, out, overrides, resume, from, events, device } = args;
    let spec = read(&spec, &overrides, device.device)?;
    let signals = Signals::default();
    stop_on_signals(&signals.stop);
    save_on_signal(&signals.save);
    if events.as_deref().is_some_and(|events| same_file(events, &out.join(EVENTS_JSONL))) {
        let problem = Problem::new(ProblemKind::InvalidValue, "the run writes that file by itself");
        return Err(problem.at("--events").hint("leave the flag out, or name another file").into());
    }
    if let Some(path) = &events {
        EventLog::check(path)?;
    }
    let mut watcher = Watcher { progress: Progress::new(), log: EventLog::default(), path: events };
    let begin = match from {
        Some(checkpoint) => Begin::From(checkpoint),
        None if resume => Begin::Resume,
        None => Begin::New,
    };
    let outcome = train(&spec, (&out, begin), &mut watcher, signals);
    watcher.progress.finish();
    let (ended, document) = match outcome? {
        Outcome::Finished(summary) => {
            note(&text(&summary));
            (Ended::Done, json!({"state": "SUCCEEDED", "summary": summary}))
        }
        Outcome::Stopped { step, checkpoint } => {
            let where_ = checkpoint.as_ref().map_or_else(
                || "before the first step; nothing to save".to_owned(),
                |path| format!("after step {step}, saved in {}; go on with --resume", path.display()),
            );
            note(&format!("stopped {where_}"));
            (Ended::Stopped, json!({"state": "STOPPED", "step": step, "checkpoint": checkpoint}))
        }
    };
    match format {
        Format::Json => print(&document.to_string()),
        Format::Text => {}
    }
    Ok(ended)
}

/// Reads the spec; the device on the command line beats the one in it.
pub fn read(
    path: &PathBuf,
    overrides: &[String],
    device: Option<DeviceKind>,
) -> Result<CheckedSpec, TrainError> {
    let mut overrides = overrides.to_vec();
    overrides.extend(device.map(|kind| format!("device.kind={kind}")));
    Ok(JobSpec::read_with(path, &overrides)?.check()?)
}

/// The first signal saves and stops, the second ends the process at once.
pub fn stop_on_signals(stop: &StopSignal) {
    for (signal, reason) in [(SIGINT, StopReason::User), (SIGTERM, StopReason::Shutdown)] {
        let stop = stop.clone();
        let act = move || {
            if stop.raised().is_some() {
                signal_hook::low_level::exit(130);
            }
            stop.raise(reason);
        };
        // SAFETY: the action only touches atomics, or leaves by `_exit`.
        if let Err(error) = unsafe { signal_hook::low_level::register(signal, act) } {
            note(&format!("signal {signal} will end the run without saving: {error}"));
        }
    }
}

/// SIGUSR1 asks for a checkpoint after the step under way.
fn save_on_signal(save: &SaveSignal) {
    #[cfg(unix)]
    {
        let save = save.clone();
        // SAFETY: the action only touches an atomic.
        let registered =
            unsafe { signal_hook::low_level::register(signal_hook::consts::SIGUSR1, move || save.raise()) };
        if let Err(error) = registered {
            note(&format!("SIGUSR1 will end the run instead of saving: {error}"));
        }
    }
    // Other systems have no such signal.
    #[cfg(not(unix))]
    let _ = save;
}

/// Whether two paths name one file, which may not be there yet.
fn same_file(a: &Path, b: &Path) -> bool {
    let absolute = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some((parent.canonicalize().ok()?, path.file_name()?.to_owned()))
    };
    absolute(a).is_some_and(|a| Some(a) == absolute(b))
}

struct Watcher {
    progress: Progress,
    log: EventLog,
    /// Where `--events` wants them; `None`: nowhere, or not any more.
    path: Option<PathBuf>,
}

impl Watcher {
    fn log(&mut self, event: &Event) -> Result<(), TrainError> {
        self.log.record(event)?;
        match (event, &self.path) {
            // Not before: a refused run writes nothing.
            (Event::State { state: State::Running, .. }, Some(path)) => self.log.open(path),
            _ => Ok(()),
        }
    }
}

impl Observer for Watcher {
    fn observe(&mut self, event: &Event) {
        if self.path.is_some()
            && let Err(error) = self.log(event)
        {
            note(&format!("--events: {error}; no more events are written there"));
            self.path = None;
        }
        self.progress.show(event);
    }
}

fn text(summary: &Summary) -> String {
    let Summary { steps, loss_nats, eval_before, eval_after, best, stopped_early, memory, path } = summary;
    let early = if *stopped_early { ", stopped early" } else { "" };
    let mut lines = vec![format!("{steps} steps done{early}")];
    lines.extend(loss_nats.map(|loss| format!("training loss of the last step {loss:.4}")));
    if let (Some(before), Some(after)) = (eval_before, eval_after) {
        lines.push(format!("held-out loss {:.4} before, {:.4} after", before.loss_nats, after.loss_nats));
    }
    if let (Some(best), Some(after)) = (best, eval_after)
        && best.step < *steps
    {
        let is_result = if best == after { "is the result" } else { "is not the result" };
        lines.push(format!(
            "the best held-out loss was {:.4}, after step {}; it {is_result}",
            best.loss_nats, best.step
        ));
    }
    lines.extend(memory.as_ref().and_then(memory_text));
    lines.push(format!("the result is in {}", path.display()));
    lines.join("\n")
}

fn memory_text(memory: &MemoryUse) -> Option<String> {
    let MemoryUse { planned_bytes, peak_bytes } = *memory;
    Some(format!("memory {} at most, {} were planned", shown(peak_bytes?), shown(planned_bytes)))
}
