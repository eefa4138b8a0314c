//! `ftl-train bench`: steady-state training speed and memory.

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use ftl_core::spec::resolved::{Quantization, Scales};
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::adapter::lora::{self, LoraSource};
use ftl_trainer::adapter::peft::AdapterConfig;
use ftl_trainer::bench::{BenchOptions, BenchReport, Split, bench};
use ftl_trainer::memory;
use ftl_trainer::model::decoder::{Keep, Trained};
use ftl_trainer::model::open::{Start, open_quantized};
use serde_json::json;

use crate::output::{CommandResult, DeviceArg, Ended, Format, print};
use crate::precision::PrecisionArgs;

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model directory; weights are random when it holds only a config.json.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What is trained.
    #[arg(long, value_enum, default_value = "lora")]
    method: Method,
    /// Rank of the adapter.
    #[arg(long, value_name = "RANK", default_value_t = 16)]
    r: usize,
    /// Rows of a batch.
    #[arg(long, value_name = "ROWS", default_value_t = 4)]
    batch: usize,
    /// Tokens of a row.
    #[arg(long, value_name = "TOKENS", default_value_t = 256)]
    tokens: usize,
    /// Segments of a row, as packing makes them.
    #[arg(long, value_name = "SEGMENTS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    segments: u16,
    /// Steps that are timed.
    #[arg(long, value_name = "STEPS", default_value_t = 12)]
    steps: usize,
    /// Steps before, of which the first compiles kernels on a GPU.
    #[arg(long, value_name = "STEPS", default_value_t = 3)]
    warmup: usize,
    /// Which activations are kept for the backward pass.
    #[arg(long, value_enum, default_value = "none")]
    gradient_checkpointing: Recompute,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    device: DeviceArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
    /// An adapter beside the frozen model.
    Lora,
    /// The same with the model in 4 bits, its scales in 8 unless --quantization says otherwise.
    Qlora,
    /// All weights.
    Full,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Recompute {
    None,
    Block,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let open = args.device.open(args.precision.dtype())?;
    let quantization = args.quantization()?;
    let start = Start::PretrainedOrRough { seed: 0 };
    let begin = Instant::now();
    let mut decoder = open_quantized(&args.model, start, quantization, &open)?;
    let load_millis = begin.elapsed().as_secs_f64() * 1e3;
    decoder.check_length(args.tokens)?;
    let trained = match args.method {
        Method::Full => Trained::Base,
        Method::Lora | Method::Qlora => {
            let config =
                AdapterConfig { r: args.r, lora_alpha: 2.0 * args.r as f64, ..AdapterConfig::default() };
            lora::attach(&mut decoder, &config, LoraSource::Fresh { seed: 0 })?;
            Trained::Adapter
        }
    };
    decoder.train(trained);
    let options = BenchOptions {
        n_rows: args.batch,
        n_tokens: args.tokens,
        n_segments: args.segments.into(),
        n_steps: args.steps,
        n_warmup_steps: args.warmup,
        keep: match args.gradient_checkpointing {
            Recompute::None => Keep::Everything,
            Recompute::Block => Keep::BlockInputs,
        },
    };
    let report = bench(&mut decoder, &open, &options);
    let peak_rss_bytes = memory::peak_rss_bytes();
    match format {
        Format::Text => print(&text(&report, peak_rss_bytes)),
        Format::Json => {
            let mut document = serde_json::to_value(&report).expect("a report is plain data");
            document["peak_rss_bytes"] = json!(peak_rss_bytes);
            document["load_millis"] = json!(load_millis);
            document["versions"] = json!({"ftl-train": env!("CARGO_PKG_VERSION"), "burn": "0.22.1"});
            print(&document.to_string());
        }
    }
    Ok(Ended::Done)
}

impl Args {
    fn quantization(&self) -> Result<Quantization, Problem> {
        match (self.method, self.precision.quantization()) {
            (Method::Qlora, Quantization::None) => Ok(Quantization::Nf4(Scales::Double)),
            (Method::Full, Quantization::Nf4(_)) => {
                let message = "quantized weights can't be trained, and `--method full` trains all of them";
                Err(Problem::new(ProblemKind::InvalidValue, message)
                    .at("--quantization")
                    .hint("use `--method qlora`, or drop the flag"))
            }
            (Method::Lora | Method::Qlora | Method::Full, asked) => Ok(asked),
        }
    }
}

fn text(report: &BenchReport, peak_rss_bytes: Option<u64>) -> String {
    let BenchReport {
        tokens_per_sec: speed,
        step_millis,
        first_step_millis,
        split_millis: Split { passes, update, digest },
        first_loss_nats,
        first_grad_norm,
        loss_nats,
        peak_gpu_bytes,
        trained_parameters,
        device,
        precision,
    } = report;
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let memory = peak_rss_bytes.map_or_else(|| "unknown".to_owned(), mib);
    let gpu = peak_gpu_bytes.map(|bytes| format!(" and {} on the GPU", mib(bytes))).unwrap_or_default();
    format!(
        "{:.0} tokens/s ({:.0} to {:.0}), step {:.0} ms, peak memory {memory}{gpu}, {trained_parameters} trained \
         parameters, {precision} on {device}\n\
         first step {first_step_millis:.0} ms, passes {passes:.0} ms, update {update:.0} ms and digest {digest:.1} ms of a step; loss \
         {first_loss_nats:.4} at first, {loss_nats:.4} at last, gradient norm {first_grad_norm:.4} at first",
        speed.median, speed.min, speed.max, step_millis.median
    )
}
