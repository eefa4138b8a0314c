//! A decoder block: reads forward, then the same in a mirror.
//!
//! ```text
//! x ─┬─ norm ─ qkv ─ rope ─ attention ─ o ─┬─ + ─┬─ norm ─ gate_up ─ silu·up ─ down ─┬─ + ─ y
//!    └─────────────────────────────────────┘     └────────────────────────────────────┘
//! ```

use burn::tensor::Tensor;

use crate::data::batch::Batch;
use crate::kernels::Kernels;
use crate::model::families::LayerLinear;
use crate::ops::attention::{self, AttentionShape};
use crate::ops::dropout::{Key, Mask};
use crate::ops::gated_mlp;
use crate::ops::linear::{self, BackwardInput, InputGradient, Linear};
use crate::ops::norm::{self, RmsNorm};
use crate::ops::param::Gradients;
use crate::ops::rope::{self, RopeTable, Turn};

/// A decoder block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Before attention.
    pub input_norm: RmsNorm,
    /// Queries, keys and values.
    pub qkv: Linear,
    /// Attention output.
    pub o: Linear,
    /// Before the MLP.
    pub post_attention_norm: RmsNorm,
    /// The MLP's gate and up.
    pub gate_up: Linear,
    /// Back to the hidden size.
    pub down: Linear,
}

/// Which linears of a family are merged into those of a block, in the order of [`Block::linears_mut`].
pub const MERGED: [&[LayerLinear]; 4] = [
    &[LayerLinear::Q, LayerLinear::K, LayerLinear::V],
    &[LayerLinear::O],
    &[LayerLinear::Gate, LayerLinear::Up],
    &[LayerLinear::Down],
];

/// What is the same for every block of a pass.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// Which code computes.
    pub kernels: Kernels,
    /// Heads and widths.
    pub shape: &'a AttentionShape,
    /// Angles of all positions.
    pub rope: &'a RopeTable,
    /// What goes through.
    pub batch: &'a Batch,
    /// The random stream of this microbatch; `None`: nothing is dropped.
    pub dropout: Option<Key>,
}

/// What the backward pass of a block needs.
#[derive(Debug)]
pub struct Saved {
    input_rms: Tensor<2>,
    input_normed: Tensor<2>,
    qkv: linear::Saved,
    attention: attention::Saved,
    o: linear::Saved,
    middle: Tensor<2>,
    middle_rms: Tensor<2>,
    middle_normed: Tensor<2>,
    gate_up_out: Tensor<2>,
    gate_up: linear::Saved,
    down: linear::Saved,
}

/// Keys and values of the tokens before, `[tokens, n_kv_heads · head_dim]` each.
#[derive(Clone, Debug, Default)]
pub struct BlockCache {
    keys_values: Option<(Tensor<2>, Tensor<2>)>,
}

/// Names a linear's dropout stream inside its block.
#[derive(Clone, Copy)]
enum Place {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Pass<'_> {
    fn mask(&self, layer_index: usize, place: Place, linear: &Linear) -> Option<Mask> {
        let prob = linear.lora.as_ref().map_or(0.0, |lora| lora.dropout_prob);
        let key = self.dropout.filter(|_| prob > 0.0)?;
        Some(Mask::new(key.fold(layer_index as u64).fold(place as u64), prob))
    }
}

impl Block {
    /// `x` and the result are `[tokens, hidden]`.
    pub fn forward(&self, x: &Tensor<2>, layer_index: usize, pass: &Pass<'_>) -> (Tensor<2>, Saved) {
        let Pass { kernels, shape, batch, .. } = *pass;
        let mask = |place, linear| pass.mask(layer_index, place, linear);

        let (input_normed, input_rms) = self.input_norm.forward(kernels, x);
        let (qkv_out, qkv) = self.qkv.forward(kernels, &input_normed, mask(Place::Qkv, &self.qkv).as_ref());
        let turned = rope::rotate(kernels, qkv_out, &batch.positions, pass.rope, (Turn::Forward, shape));
        let attention = attention::forward(kernels, turned, &batch.segments, shape);
        let (o_out, o) = self.o.forward(kernels, &attention.y, mask(Place::O, &self.o).as_ref());
        let middle = x.clone() + o_out;

        let (middle_normed, middle_rms) = self.post_attention_norm.forward(kernels, &middle);
        let (gate_up_out, gate_up) =
            self.gate_up.forward(kernels, &middle_normed, mask(Place::GateUp, &self.gate_up).as_ref());
        let activated = gated_mlp::forward(kernels, &gate_up_out);
        let (down_out, down) = self.down.forward(kernels, &activated, mask(Place::Down, &self.down).as_ref());
        let y = middle.clone() + down_out;

        let saved = Saved {
            input_rms,
            input_normed,
            qkv,
            attention,
            o,
            middle,
            middle_rms,
            middle_normed,
            gate_up_out,
            gate_up,
            down,
        };
        (y, saved)
    }

    /// `g` comes as the gradient of the output and leaves as that of `x`, unless that is unused.
    pub fn backward(&self, input: BlockBackward<'_>, g: &mut Tensor<2>, gradients: &mut Gradients) {
        let BlockBackward { x, saved, layer_index, pass, want } = input;
        let Pass { kernels, shape, batch, .. } = *pass;
        let mask = |place, linear| pass.mask(layer_index, place, linear);
        let wanted = "the gradient was asked for";

        // The activation is cheaper to make again than to keep: it is as wide as the MLP.
        let activated = gated_mlp::forward(kernels, &saved.gate_up_out);
        let dropout = mask(Place::Down, &self.down);
        let input = BackwardInput { x: &activated, saved: &saved.down, dropout: dropout.as_ref(), dy: g };
        let d_activated = self.down.backward(kernels, input, InputGradient::Wanted, gradients).expect(wanted);
        drop(activated);
        let d_gate_up = gated_mlp::backward(kernels, saved.gate_up_out, d_activated);
        let dropout = mask(Place::GateUp, &self.gate_up);
        let input = BackwardInput {
            x: &saved.middle_normed,
            saved: &saved.gate_up,
            dropout: dropout.as_ref(),
            dy: &d_gate_up,
        };
        let d_normed = self.gate_up.backward(kernels, input, InputGradient::Wanted, gradients).expect(wanted);
        drop(d_gate_up);
        let input = norm::BackwardInput { x: &saved.middle, inverse_rms: &saved.middle_rms, dy: &d_normed };
        self.post_attention_norm.backward(kernels, input, g, gradients);

        let dropout = mask(Place::O, &self.o);
        let input =
            BackwardInput { x: &saved.attention.y, saved: &saved.o, dropout: dropout.as_ref(), dy: g };
        let d_attention = self.o.backward(kernels, input, InputGradient::Wanted, gradients).expect(wanted);
        let d_turned = attention::backward(kernels, saved.attention, &d_attention, &batch.segments, shape);
        let d_qkv = rope::rotate(kernels, d_turned, &batch.positions, pass.rope, (Turn::Backward, shape));
        let dropout = mask(Place::Qkv, &self.qkv);
        let input = BackwardInput {
            x: &saved.input_normed,
            saved: &saved.qkv,
            dropout: dropout.as_ref(),
            dy: &d_qkv,
        };
        if let Some(d_normed) = self.qkv.backward(kernels, input, self.wanted_before(want), gradients) {
            let input = norm::BackwardInput { x, inverse_rms: &saved.input_rms, dy: &d_normed };
            self.input_norm.backward(kernels, input, g, gradients);
        }
    }

    /// A trained norm needs its output's gradient even where the block's input needs none.
    fn wanted_before(&self, want: InputGradient) -> InputGradient {
        if self.input_norm.weight.slot.is_some() { InputGradient::Wanted } else { want }
    }

    /// As [`forward`](Self::forward), for the next tokens of one sequence whose earlier ones are in `cache`.
    pub fn forward_cached(&self, x: &Tensor<2>, pass: &Pass<'_>, cache: &mut BlockCache) -> Tensor<2> {
        let Pass { kernels, shape, batch, .. } = *pass;
        let (normed, _) = self.input_norm.forward(kernels, x);
        let (qkv, _) = self.qkv.forward(kernels, &normed, None);
        let turned = rope::rotate(kernels, qkv, &batch.positions, pass.rope, (Turn::Forward, shape));
        let (q_width, kv_width) = (shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim);
        let q = turned.clone().narrow(1, 0, q_width);
        let mut k = turned.clone().narrow(1, q_width, kv_width);
        let mut v = turned.narrow(1, q_width + kv_width, kv_width);
        if let Some((keys, values)) = cache.keys_values.take() {
            k = Tensor::cat(vec![keys, k], 0);
            v = Tensor::cat(vec![values, v], 0);
        }
        let attended = attention::cached(q, &k, &v, shape);
        cache.keys_values = Some((k, v));
        let middle = x.clone() + self.o.forward(kernels, &attended, None).0;
        let (normed, _) = self.post_attention_norm.forward(kernels, &middle);
        let activated = gated_mlp::forward(kernels, &self.gate_up.forward(kernels, &normed, None).0);
        middle + self.down.forward(kernels, &activated, None).0
    }

    /// The linears, in the order of computation.
    pub fn linears_mut(&mut self) -> [&mut Linear; 4] {
        [&mut self.qkv, &mut self.o, &mut self.gate_up, &mut self.down]
    }
}

/// What [`Block::backward`] works on.
pub struct BlockBackward<'a> {
    /// The block's input.
    pub x: &'a Tensor<2>,
    /// What its forward pass kept.
    pub saved: Saved,
    /// Which block it is.
    pub layer_index: usize,
    /// The pass.
    pub pass: &'a Pass<'a>,
    /// Whether anything before the block is trained.
    pub want: InputGradient,
}
