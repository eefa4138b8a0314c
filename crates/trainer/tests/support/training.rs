//! Gradients by the names that files use.

use ftl_trainer::model::decoder::Decoder;
use ftl_trainer::ops::param::Gradients;

use crate::outcome::{Outcome, values};

/// The gradient of every tensor that is trained.
pub fn by_name(decoder: &Decoder, gradients: &Gradients) -> Outcome {
    let mut outcome = Outcome::new();
    decoder.for_each_param(&mut |param| {
        let Some(slot) = param.slot else { return };
        let gradient = values(gradients.get(slot));
        for piece in &param.pieces {
            outcome.insert(piece.name.clone(), gradient[piece.values.clone()].to_vec());
        }
    });
    outcome
}
