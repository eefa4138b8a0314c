//! Memory plans.

use ftl_core::plan::{Change, MemoryParts, MemoryPlan, Proposal};
use ftl_core::spec::resolved::Checkpointing;

use super::{Numbered as _, WireError, required, v1};

impl From<MemoryPlan> for v1::MemoryPlan {
    fn from(plan: MemoryPlan) -> Self {
        let MemoryPlan {
            fits,
            peak_bytes,
            available_bytes,
            parts,
            device,
            gradient_checkpointing,
            most_tokens,
            proposals,
        } = plan;
        Self {
            fits,
            peak_bytes,
            available_bytes,
            parts: Some(parts.into()),
            device,
            gradient_checkpointing: gradient_checkpointing.number(),
            most_tokens,
            proposals: proposals.into_iter().map(v1::MemoryProposal::from).collect(),
        }
    }
}

impl TryFrom<v1::MemoryPlan> for MemoryPlan {
    type Error = WireError;

    fn try_from(plan: v1::MemoryPlan) -> Result<Self, WireError> {
        const NAME: &str = "MemoryPlan";
        let v1::MemoryPlan {
            fits,
            peak_bytes,
            available_bytes,
            parts,
            device,
            gradient_checkpointing,
            most_tokens,
            proposals,
        } = plan;
        Ok(Self {
            fits,
            peak_bytes,
            available_bytes,
            parts: required(NAME, "parts", parts)?,
            device,
            gradient_checkpointing: Checkpointing::required(
                NAME,
                "gradient_checkpointing",
                gradient_checkpointing,
            )?,
            most_tokens,
            proposals: proposals.into_iter().map(Proposal::from).collect(),
        })
    }
}

impl From<MemoryParts> for v1::MemoryParts {
    fn from(parts: MemoryParts) -> Self {
        let MemoryParts {
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
        } = parts;
        Self {
            weights_bytes: weights,
            adapter_bytes: adapter,
            optimizer_bytes: optimizer,
            gradients_bytes: gradients,
            activations_bytes: activations,
            block_bytes: block,
            logits_bytes: logits,
            dequantize_bytes: dequantize,
            runtime_bytes: runtime,
            gaps_bytes: gaps,
        }
    }
}

impl From<v1::MemoryParts> for MemoryParts {
    fn from(parts: v1::MemoryParts) -> Self {
        let v1::MemoryParts {
            weights_bytes,
            adapter_bytes,
            optimizer_bytes,
            gradients_bytes,
            activations_bytes,
            block_bytes,
            logits_bytes,
            dequantize_bytes,
            runtime_bytes,
            gaps_bytes,
        } = parts;
        Self {
            weights: weights_bytes,
            adapter: adapter_bytes,
            optimizer: optimizer_bytes,
            gradients: gradients_bytes,
            activations: activations_bytes,
            block: block_bytes,
            logits: logits_bytes,
            dequantize: dequantize_bytes,
            runtime: runtime_bytes,
            gaps: gaps_bytes,
        }
    }
}

impl From<Proposal> for v1::MemoryProposal {
    fn from(proposal: Proposal) -> Self {
        let Proposal { changes, peak_bytes } = proposal;
        Self { changes: changes.into_iter().map(v1::SpecChange::from).collect(), peak_bytes }
    }
}

impl From<v1::MemoryProposal> for Proposal {
    fn from(proposal: v1::MemoryProposal) -> Self {
        let v1::MemoryProposal { changes, peak_bytes } = proposal;
        Self { changes: changes.into_iter().map(Change::from).collect(), peak_bytes }
    }
}

impl From<Change> for v1::SpecChange {
    fn from(change: Change) -> Self {
        let Change { key, value } = change;
        Self { key, value }
    }
}

impl From<v1::SpecChange> for Change {
    fn from(change: v1::SpecChange) -> Self {
        let v1::SpecChange { key, value } = change;
        Self { key, value }
    }
}
