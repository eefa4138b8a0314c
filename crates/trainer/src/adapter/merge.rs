//! Takes an adapter into the model's weights: `W + s B A`, with DoRA `m / n ⊙ (W + s B A)`. The merged model computes
//! what model and adapter did, up to rounding, and knows nothing of the adapter any more.

use burn::tensor::Tensor;
use ftl_core::{Problem, ProblemKind};

use crate::adapter::peft::PREFIX;
use crate::kernels::Kernels;
use crate::model::config::Head;
use crate::model::decoder::Decoder;
use crate::model::families::{EMBED_TOKENS, LM_HEAD};
use crate::ops::embedding::EmbeddingLora;
use crate::ops::linear::dora;
use crate::ops::linear::{Linear, Lora};
use crate::ops::param::{Owner, Param};

/// config.json's key.
const TIE_WORD_EMBEDDINGS: &str = "tie_word_embeddings";

/// Merges the adapter of `decoder`. Where it changed the embedding or the head alone, a tied head becomes a separate
/// one, in config.json too.
///
/// # Errors
/// A base in 4 bits: what is merged into the rounded weights fits the model that they were made of worse than the
/// adapter itself does.
pub fn merge(decoder: &mut Decoder) -> Result<(), Problem> {
    if decoder.is_quantized() {
        let message = "an adapter can't be merged into a model in 4 bits";
        return Err(Problem::new(ProblemKind::InvalidValue, message)
            .hint("merge it into the model that this one was made from"));
    }
    let kernels = decoder.kernels;
    for linear in decoder.blocks.iter_mut().flat_map(|block| block.linears_mut()) {
        merge_linear(kernels, linear);
    }
    let is_adapted = decoder.embed_lora.is_some() || decoder.adapted_head.is_some();
    if decoder.head.is_none() && is_adapted {
        let mut head = decoder.embed.clone();
        head.owner = Owner::Base;
        head.pieces[0].name = LM_HEAD.to_owned();
        decoder.head = Some(head);
    }
    if let Some(lora) = decoder.embed_lora.take() {
        merge_embedding(&mut decoder.embed, &lora);
    }
    if let Some(mut adapted) = decoder.adapted_head.take() {
        merge_linear(kernels, &mut adapted);
        let head = decoder.head.as_mut().expect("a tied head was separated");
        head.value = adapted.weight.dense(Kernels::Plain);
    }
    decoder.for_each_param_mut(&mut |param| match param.owner {
        Owner::Base | Owner::Adapter => {}
        Owner::Copy | Owner::Kept => {
            param.owner = Owner::Base;
            for piece in &mut param.pieces {
                if let Some(name) = piece.name.strip_prefix(PREFIX) {
                    piece.name = name.replace(".base_layer.", ".");
                }
            }
        }
    });
    debug_assert_eq!(decoder.embed.pieces[0].name, EMBED_TOKENS);
    if decoder.head.is_some() && decoder.config.head == Head::Tied {
        decoder.config.head = Head::Separate;
        decoder.config.raw.insert(TIE_WORD_EMBEDDINGS.to_owned(), false.into());
    }
    Ok(())
}

fn merge_linear(kernels: Kernels, linear: &mut Linear) {
    let Some(lora) = linear.lora.take() else { return };
    let mut norms = dora::norms(kernels, &linear.weight, &lora).into_iter();
    let Lora { a, parts, .. } = &lora;
    let weight = linear.weight.param_mut().expect("a model in 4 bits was refused");
    for part in parts {
        let [_, n_inputs] = weight.value.dims();
        let area = [part.outputs.clone(), 0..n_inputs];
        let a = a.value.clone().narrow(0, part.ranks.start, part.ranks.len());
        let update = part.b.value.clone().matmul(a).mul_scalar(part.scale);
        let mut merged = weight.value.clone().slice(area.clone()) + update;
        if let Some(dora) = &part.dora {
            let norms = norms.next().expect("norms of every part with magnitudes");
            merged = merged * (dora.magnitude.value.clone() / norms).transpose();
        }
        weight.value = weight.value.clone().slice_assign(area, merged);
    }
}

fn merge_embedding(embed: &mut Param, lora: &EmbeddingLora) {
    let EmbeddingLora { a, b, scale } = lora;
    let update: Tensor<2> = a.value.clone().transpose().matmul(b.value.clone().transpose());
    embed.value = embed.value.clone() + update.mul_scalar(*scale);
}
