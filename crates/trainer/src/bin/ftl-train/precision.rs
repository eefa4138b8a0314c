//! `--dtype` and `--quantization`, the same on every command that computes with a model.

use clap::ValueEnum;
use ftl_core::spec::resolved::{ModelDtype, Quantization, Scales};

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
    pub fn quantization(self) -> Quantization {
        match self.quantization {
            None => Quantization::None,
            Some(Format::Nf4) => Quantization::Nf4(Scales::F32),
            Some(Format::Nf4Double) => Quantization::Nf4(Scales::Double),
        }
    }

    /// In which numbers to compute.
    pub fn dtype(self) -> ModelDtype {
        match self.dtype {
            Dtype::Auto => ModelDtype::Auto,
            Dtype::F32 => ModelDtype::F32,
            Dtype::Bf16 => ModelDtype::Bf16,
            Dtype::F16 => ModelDtype::F16,
        }
    }
}
