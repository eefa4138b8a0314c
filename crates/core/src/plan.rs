//! How much memory a run will take: what is predicted before it starts, and what would make it fit.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::resolved::Checkpointing;

/// The memory that a run will take at its peak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Whether it fits; true where nobody knows what is available.
    pub fits: bool,
    /// All parts together.
    pub peak_bytes: u64,
    /// What the run may take: the spec's limit, or what is free; `None` where the system does not tell.
    pub available_bytes: Option<u64>,
    /// The parts at the peak.
    pub parts: MemoryParts,
    /// Where the run would compute.
    pub device: String,
    /// Which activations it would keep; never `auto`.
    pub gradient_checkpointing: Checkpointing,
    /// The tokens of the longest microbatch that it is planned for.
    pub most_tokens: u64,
    /// What would fit; none where the plan does.
    pub proposals: Vec<Proposal>,
}

/// What memory holds at the peak of a run, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryParts {
    /// The model's weights.
    pub weights: u64,
    /// The adapter's.
    pub adapter: u64,
    /// What the optimizer remembers.
    pub optimizer: u64,
    /// Gradients.
    pub gradients: u64,
    /// What the forward pass keeps for the backward pass, over all blocks.
    pub activations: u64,
    /// What one block works with, forward and backward.
    pub block: u64,
    /// The chunk of logits that exists at once.
    pub logits: u64,
    /// Where weights in 4 bits are made whole for a product.
    pub dequantize: u64,
    /// What is there whatever is trained: code, threads, tokenizer, data.
    pub runtime: u64,
    /// What lies unused between the others.
    pub gaps: u64,
}

impl MemoryParts {
    /// Each by its name, in order.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        let Self {
            weights,
            adapter,
            optimizer,
            gradients,
            activations,
            block,
            logits,
            dequantize,
            runtime,
            gaps,
        } = *self;
        [
            ("weights", weights),
            ("adapter", adapter),
            ("optimizer", optimizer),
            ("gradients", gradients),
            ("activations", activations),
            ("block", block),
            ("logits", logits),
            ("dequantize", dequantize),
            ("runtime", runtime),
            ("gaps", gaps),
        ]
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.named().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// A change of the spec that would fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The keys to set, all of them.
    pub changes: Vec<Change>,
    /// The peak of the run as it is planned then.
    pub peak_bytes: u64,
}

/// A key of the spec with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// As in `data.max_length`.
    pub key: String,
    /// As a spec and `--set` write it.
    pub value: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` = {}", self.key, self.value)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        write!(f, "{} ({})", changes.join(" with "), shown(self.peak_bytes))
    }
}

/// What a person is told: the parts, their sum, what is available, and what would fit. It ends without a line break.
///
/// ```text
/// weights        512 MiB
/// activations   1.25 GiB
/// peak          1.75 GiB of 7.50 GiB on cpu, 8192 tokens at once, gradient_checkpointing = none
/// ```
impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fits, peak_bytes, available_bytes, parts, device, .. } = self;
        for (name, bytes) in parts.named().into_iter().filter(|(_, bytes)| *bytes > 0) {
            writeln!(f, "{name:<12} {:>10}", shown(bytes))?;
        }
        let kept = match self.gradient_checkpointing {
            Checkpointing::None => "none",
            Checkpointing::Block => "block",
            Checkpointing::Auto => "auto",
        };
        let available = available_bytes.map(|bytes| format!(" of {}", shown(bytes))).unwrap_or_default();
        write!(
            f,
            "{:<12} {:>10}{available} on {device}, {} tokens at once, gradient_checkpointing = {kept}",
            "peak",
            shown(*peak_bytes),
            self.most_tokens
        )?;
        if *fits {
            return Ok(());
        }
        write!(f, "\nit does not fit")?;
        match self.proposals.as_slice() {
            [] => write!(f, ", and nothing that can be changed in the spec would make it"),
            proposals => {
                write!(f, "; what would:")?;
                proposals.iter().try_for_each(|proposal| write!(f, "\n  {proposal}"))
            }
        }
    }
}

/// An amount of memory as people read it: `512 MiB`, `7.50 GiB`.
pub fn shown(bytes: u64) -> String {
    const GIB: f64 = (1 << 30) as f64;
    let bytes = bytes as f64;
    if bytes >= GIB {
        format!("{:.2} GiB", bytes / GIB)
    } else {
        format!("{:.0} MiB", bytes / f64::from(1 << 20))
    }
}
