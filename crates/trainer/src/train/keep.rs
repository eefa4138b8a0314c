//! Which activations to keep where the spec leaves it open.

use ftl_core::spec::resolved::Checkpointing;

use crate::memory;
use crate::model::config::DecoderConfig;
use crate::model::decoder::Keep;

/// `auto` keeps everything while that takes at most this share of the memory that is free.
const SHARE_OF_FREE: f64 = 0.5;

/// Decides for microbatches of at most `n_tokens`; the second value says why, where there was a choice.
pub fn choose(asked: Checkpointing, config: &DecoderConfig, n_tokens: usize) -> (Keep, Option<String>) {
    match asked {
        Checkpointing::None => (Keep::Everything, None),
        Checkpointing::Block => (Keep::BlockInputs, None),
        Checkpointing::Auto => {
            let Some(free) = memory::available_bytes() else { return (Keep::Everything, None) };
            let needed = kept_bytes(config, n_tokens);
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let amounts = format!("keeping all activations takes {:.1} of {:.1} GiB", gib(needed), gib(free));
            if needed as f64 <= free as f64 * SHARE_OF_FREE {
                (Keep::Everything, Some(format!("gradient_checkpointing is none: {amounts}")))
            } else {
                (Keep::BlockInputs, Some(format!("gradient_checkpointing is block: {amounts}")))
            }
        }
    }
}

/// What `model::block::Saved` holds for all blocks, in f32.
fn kept_bytes(config: &DecoderConfig, n_tokens: usize) -> u64 {
    let DecoderConfig { hidden_size, intermediate_size, n_heads, n_kv_heads, head_dim, n_layers, .. } =
        *config;
    let attention = (2 * n_heads + 2 * n_kv_heads) * head_dim; // q, k, v and the output
    let per_token = 2 * hidden_size + attention + 2 * intermediate_size;
    (n_layers * n_tokens * per_token * size_of::<f32>()) as u64
}
