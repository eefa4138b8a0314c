//! How the learning rate changes.

use serde::{Deserialize, Serialize};

/// How the learning rate changes after the warm-up; transformers' schedules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Stays, and knows no warm-up.
    Constant,
    /// Stays.
    ConstantWithWarmup,
    /// Falls to 0 in a line.
    Linear,
    /// `num_cycles` cosine waves; 0.5 falls to 0.
    Cosine {
        /// Waves.
        num_cycles: f64,
    },
    /// So many falls to 0, each from the top.
    CosineWithRestarts {
        /// Falls.
        num_cycles: u64,
    },
    /// Cosine to a floor.
    CosineWithMinLr {
        /// The floor as a share of the peak.
        min_lr_rate: f64,
        /// Waves.
        num_cycles: f64,
    },
    /// A polynomial to a floor.
    Polynomial {
        /// The floor.
        lr_end: f64,
        /// The exponent.
        power: f64,
    },
    /// `1 / sqrt(step)`, with transformers' default time scale (the warm-up's length, or 10,000 without one).
    InverseSqrt {
        /// Steps by which the curve is stretched; `None`: the default.
        timescale: Option<u64>,
    },
    /// Warm-up, plateau, decay.
    Wsd(Wsd),
}

/// transformers' warmup_stable_decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wsd {
    /// Steps of the plateau; `None`: what is left.
    pub num_stable_steps: Option<u64>,
    /// Steps of the decay.
    pub num_decay_steps: u64,
    /// Shape of the warm-up.
    pub warmup_type: WsdShape,
    /// Shape of the decay.
    pub decay_type: WsdShape,
    /// The floor as a share of the peak.
    pub min_lr_ratio: f64,
    /// Cosine waves of the decay.
    pub num_cycles: f64,
}

/// The shape of a warm-up or decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WsdShape {
    /// A line.
    Linear,
    /// Half a cosine wave.
    Cosine,
    /// One minus the square root.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// How the learning rate starts. The first warm-up step has rate 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Warmup {
    /// So many steps; 0: none.
    Steps(u64),
    /// This share of all steps, rounded up.
    Fraction(f64),
}
