//! Flags that say how a model answers.

use ftl_core::inference::SamplingSpec;

/// How tokens are chosen.
#[derive(Clone, Debug, clap::Args)]
pub struct SamplingArgs {
    /// At most this many tokens. Default: 256.
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<u64>,
    /// Higher is more varied; 0 is greedy, and the default, unless --top-p or --top-k is given (then 1).
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Draw from the fewest tokens whose probabilities add up to this. Default: 1.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Draw from this many of the likeliest tokens; 0: from all, the default.
    #[arg(long, value_name = "N")]
    top_k: Option<u64>,
    /// Where random numbers come from. Default: 0.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where to compute: auto, cpu, cuda or cuda:N. Default: auto.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
}

impl SamplingArgs {
    /// As the service takes it; it judges the values.
    pub fn spec(&self) -> SamplingSpec {
        let Self { max_new_tokens, temperature, top_p, top_k, seed, device: _ } = self;
        SamplingSpec {
            max_new_tokens: *max_new_tokens,
            temperature: *temperature,
            top_p: *top_p,
            top_k: *top_k,
            seed: *seed,
        }
    }
}
