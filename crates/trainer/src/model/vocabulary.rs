//! Rows for added tokens: a tokenizer may have more ids than the model's embedding has rows.

use burn::tensor::Tensor;

use crate::model::decoder::Decoder;
use crate::ops::param::Param;

/// config.json's key.
const VOCAB_SIZE: &str = "vocab_size";

impl Decoder {
    /// Gives the embedding and the head rows up to `n_rows`, each the mean of the rows that were there. transformers'
    /// `resize_token_embeddings` (with its default `mean_resizing`) draws around the same mean, with a covariance of a
    /// billionth of the rows'; here nothing is drawn, so that a run can be repeated. Fewer rows than there are change
    /// nothing.
    ///
    /// # Panics
    /// If an adapter sits on the embedding or the head already.
    pub fn grow_vocabulary(&mut self, n_rows: usize) {
        let n_known = self.config.vocab_size;
        if n_rows <= n_known {
            return;
        }
        assert!(self.embed_lora.is_none() && self.adapted_head.is_none(), "rows are added before adapters");
        grow(&mut self.embed, n_rows);
        self.head.iter_mut().for_each(|head| grow(head, n_rows));
        self.config.vocab_size = n_rows;
        self.config.raw.insert(VOCAB_SIZE.to_owned(), n_rows.into());
    }
}

fn grow(param: &mut Param, n_rows: usize) {
    let [n_known, width] = param.value.dims();
    let mean = param.value.clone().mean_dim(0).expand([n_rows - n_known, width]);
    param.value = Tensor::cat(vec![param.value.clone(), mean], 0);
    for piece in &mut param.pieces {
        piece.values = 0..n_rows * width;
        piece.shape = vec![n_rows, width];
    }
}
