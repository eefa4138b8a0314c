//! `--dtype` and `--quantization`, the same on every command that computes with a model.

use clap::ValueEnum;
use ftl_core::spec::resolved::{Quantization, Scales};
use ftl_core::{Problem, ProblemKind};

/// In which numbers a model is held and computed with.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PrecisionArgs {
    /// Precision of the computation.
    #[arg(long, value_enum, value_name = "DTYPE", default_value = "auto")]
    dtype: Dtype,
    /// Hold the linears of the blocks in 4 bits, their scales in f32 or in 8 bits.
    #[arg(long, value_enum, value_name = "FORMAT")]
    quantization: Option<Format>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    Auto,
    F32,
    Bf16,
    F16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Nf4,
    Nf4Double,
}

impl PrecisionArgs {
    /// How the linears of the blocks are held.
    ///
    /// # Errors
    /// A precision that this version does not compute in.
    pub fn quantization(self) -> Result<Quantization, Problem> {
        match self.dtype {
            Dtype::Auto | Dtype::F32 => {}
            Dtype::Bf16 => return Err(no_dtype("bf16")),
            Dtype::F16 => return Err(no_dtype("f16")),
        }
        Ok(match self.quantization {
            None => Quantization::None,
            Some(Format::Nf4) => Quantization::Nf4(Scales::F32),
            Some(Format::Nf4Double) => Quantization::Nf4(Scales::Double),
        })
    }
}

fn no_dtype(name: &str) -> Problem {
    Problem::new(ProblemKind::NotAvailable, format!("computing in `{name}` is not available in this version"))
        .at("--dtype")
        .hint("this version computes in f32: use `f32`, or drop the flag")
}
