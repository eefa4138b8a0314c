//! `ftl-train check`: what is in data files, and whether they can be trained on.

use std::path::PathBuf;

use ftl_core::dataset::DatasetReport;
use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::{CheckedSpec, JobSpec, Problem, StopSignal};
use ftl_trainer::data::report::{CheckRequest, Fingerprint, ModelFiles, check, plain};
use ftl_trainer::error::TrainError;
use serde_json::{Value, json};

use crate::output::{CommandResult, Ended, Format, print};
use crate::progress::Progress;
use crate::run::{read, stop_on_signals};

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// A model directory, of which the tokenizer's files are enough: with it, tokens are counted too.
    #[arg(long, value_name = "DIR", conflicts_with = "spec")]
    model: Option<PathBuf>,
    /// Format of the data; found out from each file by default.
    #[arg(long, value_name = "FORMAT", conflicts_with = "spec", value_parser = data_format)]
    format: Option<DataFormat>,
    /// A file that is held out: rows of it that are trained on too are found.
    #[arg(long, value_name = "FILE", conflicts_with = "spec")]
    eval: Option<PathBuf>,
    /// Longest sample in tokens. Default: the model's context, at most 2048.
    #[arg(long, value_name = "TOKENS", requires = "model")]
    max_length: Option<u64>,
    /// What happens to a sample that is longer: error, drop, truncate or split.
    #[arg(long, value_name = "STRATEGY", requires = "model", value_parser = strategy)]
    excess_length_strategy: Option<ExcessLength>,
    /// Change a key of the spec: `--set data.max_length=1024`.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "spec")]
    overrides: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct From {
    /// Data files.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// A job's spec: checked is what it would train on, with its model.
    #[arg(long, value_name = "SPEC")]
    spec: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let stop = StopSignal::new();
    stop_on_signals(&stop);
    let report = args.report(&stop)?;
    match format {
        Format::Json => print(&serde_json::to_string(&report).expect("a report is plain data")),
        Format::Text => print(&report.to_string()),
    }
    Ok(if report.is_fit() { Ended::Done } else { Ended::Refused })
}

impl Args {
    fn report(&self, stop: &StopSignal) -> Result<DatasetReport, TrainError> {
        let (spec, files) = match (&self.from.spec, &self.model) {
            (Some(path), _) => {
                let spec = read(path, &self.overrides, None)?;
                let files = ModelFiles::of_job(&spec)?;
                (spec, files)
            }
            (None, Some(dir)) => {
                let spec = self.job(dir)?;
                let files = ModelFiles::of_directory(dir, &spec)?;
                (spec, files)
            }
            (None, None) => return self.without_model(stop),
        };
        let request = CheckRequest {
            data: &spec.data,
            model: Some(files.side(&spec.data)),
            train: Some(&spec.train),
            seed: spec.train.seed,
            fingerprint: Fingerprint::Absent,
        };
        watched(&request, stop)
    }

    fn without_model(&self, stop: &StopSignal) -> Result<DatasetReport, TrainError> {
        let mut data = plain(self.from.data.iter().cloned(), self.format.unwrap_or(DataFormat::Auto));
        if let Some(path) = &self.eval {
            data.eval = ftl_core::spec::resolved::Eval::File(path.clone());
        }
        let fingerprint = Fingerprint::Absent;
        watched(&CheckRequest { data: &data, model: None, train: None, seed: 0, fingerprint }, stop)
    }

    /// A job over these data with every other key at its default.
    fn job(&self, model: &PathBuf) -> Result<CheckedSpec, Vec<Problem>> {
        let Self { from, model: _, format, eval, max_length, excess_length_strategy, overrides: _ } = self;
        let mut data = json!({"train": from.data, "format": format, "max_length": max_length, "excess_length_strategy": excess_length_strategy});
        if let Some(path) = eval {
            data["eval"] = json!({ "path": path });
        }
        data.as_object_mut().expect("an object was written").retain(|_, value| !value.is_null());
        let job: Value = json!({"model": {"path": model}, "data": data, "method": {"kind": "sft"}, "adapter": {"kind": "lora"}});
        JobSpec::from_value(job)?.check()
    }
}

fn watched(request: &CheckRequest<'_>, stop: &StopSignal) -> Result<DatasetReport, TrainError> {
    let mut progress = Progress::new();
    let report = check(request, &mut |event: &ftl_core::Event| progress.show(event), stop);
    progress.finish();
    Ok(report?)
}

/// A format by its name.
pub fn data_format(name: &str) -> Result<DataFormat, String> {
    serde_json::from_value(json!(name)).map_err(|error| error.to_string())
}

fn strategy(name: &str) -> Result<ExcessLength, String> {
    serde_json::from_value(json!(name)).map_err(|error| error.to_string())
}
