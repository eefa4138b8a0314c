//! A decoder block: reads forward, then the same in a mirror.
//!
//! ```text
//! x ─┬─ norm ─ qkv ─ qk norm ─ rope ─ attention ─ o ─ norm ─┬─ + ─┬─ norm ─ gate_up ─ gate·up ─ down ─ norm ─┬─ + ─ y
//!    └──────────────────────────────────────────────────────┘     └──────────────────────────────────────────┘
//! ```
//!
//! Every family leaves some of the norms out, and some layers of some families the rotary positions.

use burn::tensor::Tensor;

use crate::data::batch::Batch;
use crate::kernels::Kernels;
use crate::ops::attention::{self, AttentionShape, Segments};
use crate::ops::dropout::{Key, Mask};
use crate::ops::gated_mlp::{self, Activation};
use crate::ops::linear::{self, BackwardInput, InputGradient, Linear};
use crate::ops::norm::{self, RmsNorm};
use crate::ops::param::Gradients;
use crate::ops::qk_norm::{self, QkNorm};
use crate::ops::rope::{self, RopeTable, Rotation, Turn};

/// A decoder block. Which norms it has is its family's business.
#[derive(Clone, Debug)]
pub struct Block {
    /// Heads and widths of its attention, and how far it looks back.
    pub shape: AttentionShape,
    /// Which of the model's angles it turns by; `None`: none.
    pub rope_index: Option<usize>,
    /// What the gate of its MLP goes through.
    pub activation: Activation,
    /// Norms before and after its two branches.
    pub norms: Norms,
    /// Queries, keys and values.
    pub qkv: Linear,
    /// The norms of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// Attention output.
    pub o: Linear,
    /// The MLP's gate and up.
    pub gate_up: Linear,
    /// Back to the hidden size.
    pub down: Linear,
}

/// The norms before and after the two branches of a block.
#[derive(Clone, Debug)]
pub struct Norms {
    /// Of the input of attention.
    pub before_attention: Option<RmsNorm>,
    /// Of what attention adds to the residual stream.
    pub after_attention: Option<RmsNorm>,
    /// Of the input of the MLP.
    pub before_mlp: Option<RmsNorm>,
    /// Of what the MLP adds to the residual stream.
    pub after_mlp: Option<RmsNorm>,
}

/// Makes what products of all blocks read on a GPU beside weights and activations, where it is not there: together it takes
/// a few launches, block by block it would take many.
pub fn make_ready(kernels: Kernels, blocks: &[Block]) {
    match kernels {
        Kernels::Cube(gpu) => linear::make_factors(gpu, blocks.iter().flat_map(Block::linears)),
        Kernels::Plain | Kernels::Cpu => {}
    }
}

/// What is the same for every block of a pass.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// Which code computes.
    pub kernels: Kernels,
    /// Angles of all positions, one table for each of the model's ropes.
    pub ropes: &'a [RopeTable],
    /// What goes through.
    pub batch: &'a Batch,
    /// Its segments, for attention.
    pub segments: &'a Segments<'a>,
    /// The random stream of this microbatch; `None`: nothing is dropped.
    pub dropout: Option<Key>,
}

/// What the backward pass of a block needs. What its norms and its activation give is cheaper to make again than to
/// keep: of a Llama that would be a fifth more.
#[derive(Debug)]
pub struct Saved {
    qkv: linear::Saved,
    /// `1 / rms` of queries and keys. With it the `qkv` of `attention` are those before the norm: making the others again
    /// is cheaper than keeping both.
    qk_inverse_rms: Option<Tensor<2>>,
    attention: attention::Saved,
    o: linear::Saved,
    attention_output: Option<AfterNorm>,
    middle: Tensor<2>,
    gate_up_out: Tensor<2>,
    gate_up: linear::Saved,
    down: linear::Saved,
    mlp_output: Option<AfterNorm>,
}

/// What a branch reads: the output of its norm with `1 / rms`, or without a norm the block's own input.
#[derive(Debug)]
pub struct Normed {
    /// The output.
    pub y: Tensor<2>,
    /// `1 / rms` of each row.
    pub inverse_rms: Option<Tensor<2>>,
}

/// What a block and those beside it do for each other. A GPU adds the output of a block to the residual stream and takes
/// the norm of the sum in one go, and that norm belongs to whatever comes next.
#[derive(Debug, Default)]
pub struct Neighbours<'a> {
    /// The norm of the input, if it was taken before.
    pub input: Option<Normed>,
    /// The norm that reads the output, if it should be taken here.
    pub next: Option<&'a RmsNorm>,
}

impl<'a> Neighbours<'a> {
    /// Those of one of the blocks that the last norm follows.
    pub fn of(
        (blocks, last_norm): (&'a [Block], &'a RmsNorm),
        layer_index: usize,
        kernels: Kernels,
        input: Option<Normed>,
    ) -> Self {
        let next = match kernels {
            // There it would be kept in memory for longer, for nothing.
            Kernels::Plain | Kernels::Cpu => None,
            Kernels::Cube(_) => match blocks.get(layer_index + 1) {
                Some(block) => block.norms.before_attention.as_ref(),
                None => Some(last_norm),
            },
        };
        Self { input, next }
    }
}

/// The norm of `x` with its `1 / rms`, which the block before may have taken.
pub fn normed_before(
    norm: &RmsNorm,
    kernels: Kernels,
    x: &Tensor<2>,
    input: Option<Normed>,
) -> (Tensor<2>, Tensor<2>) {
    match input {
        Some(Normed { y, inverse_rms: Some(inverse_rms) }) => (y, inverse_rms),
        Some(Normed { inverse_rms: None, .. }) | None => norm.forward(kernels, x),
    }
}

/// What the backward pass of the norm behind a branch needs.
#[derive(Debug)]
struct AfterNorm {
    x: Tensor<2>,
    inverse_rms: Tensor<2>,
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
        let (y, saved, _) = self.forward_between(x, Neighbours::default(), layer_index, pass);
        (y, saved)
    }

    /// As [`forward`](Self::forward), with what the block before has done of this one's work; the last of the results is
    /// what this block has done of the next one's.
    pub fn forward_between(
        &self,
        x: &Tensor<2>,
        neighbours: Neighbours<'_>,
        layer_index: usize,
        pass: &Pass<'_>,
    ) -> (Tensor<2>, Saved, Option<Normed>) {
        let Pass { kernels, segments, .. } = *pass;
        let shape = &self.shape;
        let mask = |place, linear| pass.mask(layer_index, place, linear);

        let Neighbours { input, next } = neighbours;
        let input = input.unwrap_or_else(|| normed(self.norms.before_attention.as_ref(), kernels, x));
        let (qkv_out, qkv) = self.qkv.forward(kernels, &input.y, mask(Place::Qkv, &self.qkv).as_ref());
        drop(input);
        let (attention, qk_inverse_rms) = match &self.qk_norm {
            None => {
                let turned = self.rotate(qkv_out, pass, Turn::Forward);
                (attention::forward(kernels, turned, segments, shape), None)
            }
            Some(norm) => {
                let (turned, inverse_rms) =
                    norm.forward_turned(kernels, (&qkv_out, shape), self.rotation(pass));
                let attention = attention::forward(kernels, turned, segments, shape);
                (attention::Saved { qkv: qkv_out, ..attention }, Some(inverse_rms))
            }
        };
        let (o_out, o) = self.o.forward(kernels, &attention.y, mask(Place::O, &self.o).as_ref());
        let (added, attention_output) = after(self.norms.after_attention.as_ref(), kernels, o_out);
        let (middle, input) = added_and_normed(self.norms.before_mlp.as_ref(), kernels, x, added);

        let (gate_up_out, gate_up) =
            self.gate_up.forward(kernels, &input.y, mask(Place::GateUp, &self.gate_up).as_ref());
        drop(input);
        let activated = gated_mlp::forward(kernels, self.activation, &gate_up_out);
        let (down_out, down) = self.down.forward(kernels, &activated, mask(Place::Down, &self.down).as_ref());
        let (added, mlp_output) = after(self.norms.after_mlp.as_ref(), kernels, down_out);
        let (y, next_input) = match next {
            Some(_) => {
                let (y, input) = added_and_normed(next, kernels, &middle, added);
                (y, Some(input))
            }
            None => (middle.clone() + added, None),
        };

        let saved = Saved {
            qkv,
            qk_inverse_rms,
            attention,
            o,
            attention_output,
            middle,
            gate_up_out,
            gate_up,
            down,
            mlp_output,
        };
        (y, saved, next_input)
    }

    /// `g` comes as the gradient of the output and leaves as that of `x`, unless that is unused.
    pub fn backward(&self, input: BlockBackward<'_>, g: &mut Tensor<2>, gradients: &mut Gradients) {
        let BlockBackward { x, saved, layer_index, pass, want } = input;
        let Pass { kernels, segments, .. } = *pass;
        let shape = &self.shape;
        let mask = |place, linear| pass.mask(layer_index, place, linear);
        let wanted = "the gradient was asked for";

        let through = before_after(self.norms.after_mlp.as_ref(), kernels, (saved.mlp_output, g), gradients);
        let activated = gated_mlp::forward(kernels, self.activation, &saved.gate_up_out);
        let dropout = mask(Place::Down, &self.down);
        let dy = through.as_ref().unwrap_or(g);
        let input = BackwardInput { x: &activated, saved: &saved.down, dropout: dropout.as_ref(), dy };
        let d_activated = self.down.backward(kernels, input, InputGradient::Wanted, gradients).expect(wanted);
        drop((activated, through));
        let d_gate_up = gated_mlp::backward(kernels, self.activation, saved.gate_up_out, d_activated);
        let mlp_input = normed(self.norms.before_mlp.as_ref(), kernels, &saved.middle);
        let dropout = mask(Place::GateUp, &self.gate_up);
        let input = BackwardInput {
            x: &mlp_input.y,
            saved: &saved.gate_up,
            dropout: dropout.as_ref(),
            dy: &d_gate_up,
        };
        let d_input = self.gate_up.backward(kernels, input, InputGradient::Wanted, gradients).expect(wanted);
        drop(d_gate_up);
        let input = (&saved.middle, mlp_input.inverse_rms.as_ref(), d_input);
        before_normed(self.norms.before_mlp.as_ref(), kernels, input, (g, gradients));
        drop(mlp_input);

        let through = before_after(
            self.norms.after_attention.as_ref(),
            kernels,
            (saved.attention_output, g),
            gradients,
        );
        let dropout = mask(Place::O, &self.o);
        let dy = through.as_ref().unwrap_or(g);
        let input = BackwardInput { x: &saved.attention.y, saved: &saved.o, dropout: dropout.as_ref(), dy };
        let d_attention = self.o.backward(kernels, input, InputGradient::Wanted, gradients).expect(wanted);
        drop(through);
        let backward = |attention| attention::backward(kernels, attention, &d_attention, segments, shape);
        let d_qkv = match (&self.qk_norm, saved.qk_inverse_rms) {
            (Some(norm), Some(inverse_rms)) => {
                let qkv = saved.attention.qkv;
                let (turned, _) = norm.forward_turned(kernels, (&qkv, shape), self.rotation(pass));
                let d_turned = backward(attention::Saved { qkv: turned, ..saved.attention });
                let input = qk_norm::BackwardInput { qkv: &qkv, inverse_rms: &inverse_rms, shape };
                norm.backward_turned(kernels, input, (d_turned, self.rotation(pass)), gradients)
            }
            (Some(_) | None, _) => self.rotate(backward(saved.attention), pass, Turn::Backward),
        };
        let attention_input = normed(self.norms.before_attention.as_ref(), kernels, x);
        let dropout = mask(Place::Qkv, &self.qkv);
        let input =
            BackwardInput { x: &attention_input.y, saved: &saved.qkv, dropout: dropout.as_ref(), dy: &d_qkv };
        if let Some(d_input) = self.qkv.backward(kernels, input, self.wanted_before(want), gradients) {
            let input = (x, attention_input.inverse_rms.as_ref(), d_input);
            before_normed(self.norms.before_attention.as_ref(), kernels, input, (g, gradients));
        }
    }

    /// A trained norm needs its output's gradient even where the block's input needs none.
    fn wanted_before(&self, want: InputGradient) -> InputGradient {
        let is_trained = self.norms.before_attention.as_ref().is_some_and(|norm| norm.weight.slot.is_some());
        if is_trained { InputGradient::Wanted } else { want }
    }

    /// Turns q and k by their positions, where this block does.
    fn rotate(&self, qkv: Tensor<2>, pass: &Pass<'_>, turn: Turn) -> Tensor<2> {
        rope::turned(pass.kernels, qkv, self.rotation(pass), (turn, &self.shape))
    }

    /// By what q and k turn, where they do.
    fn rotation<'a>(&self, pass: &Pass<'a>) -> Option<Rotation<'a>> {
        let table = &pass.ropes[self.rope_index?];
        Some(Rotation { positions: &pass.batch.positions, table })
    }

    /// As [`forward`](Self::forward), for the next tokens of one sequence whose earlier ones are in `cache`.
    pub fn forward_cached(&self, x: &Tensor<2>, pass: &Pass<'_>, cache: &mut BlockCache) -> Tensor<2> {
        let (kernels, shape) = (pass.kernels, &self.shape);
        let input = normed(self.norms.before_attention.as_ref(), kernels, x).y;
        let (mut qkv, _) = self.qkv.forward(kernels, &input, None);
        if let Some(norm) = &self.qk_norm {
            (qkv, _) = norm.forward(kernels, &qkv, shape);
        }
        let turned = self.rotate(qkv, pass, Turn::Forward);
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
        let o_out = self.o.forward(kernels, &attended, None).0;
        let middle = x.clone() + after(self.norms.after_attention.as_ref(), kernels, o_out).0;
        let input = normed(self.norms.before_mlp.as_ref(), kernels, &middle).y;
        let gate_up_out = self.gate_up.forward(kernels, &input, None).0;
        let activated = gated_mlp::forward(kernels, self.activation, &gate_up_out);
        let down_out = self.down.forward(kernels, &activated, None).0;
        middle + after(self.norms.after_mlp.as_ref(), kernels, down_out).0
    }

    /// The linears.
    pub fn linears(&self) -> [&Linear; 4] {
        [&self.qkv, &self.o, &self.gate_up, &self.down]
    }

    /// The linears, in the order of [`Family::merged`](crate::model::families::Family::merged).
    pub fn linears_mut(&mut self) -> [&mut Linear; 4] {
        [&mut self.qkv, &mut self.o, &mut self.gate_up, &mut self.down]
    }
}

impl Norms {
    /// Those that there are, in the order of computation.
    pub fn iter(&self) -> impl Iterator<Item = &RmsNorm> {
        let Self { before_attention, after_attention, before_mlp, after_mlp } = self;
        [before_attention, after_attention, before_mlp, after_mlp].into_iter().flatten()
    }

    /// As [`iter`](Self::iter), to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut RmsNorm> {
        let Self { before_attention, after_attention, before_mlp, after_mlp } = self;
        [before_attention, after_attention, before_mlp, after_mlp].into_iter().flatten()
    }
}

/// The norm before a branch, if there is one.
fn normed(norm: Option<&RmsNorm>, kernels: Kernels, x: &Tensor<2>) -> Normed {
    let Some(norm) = norm else { return Normed { y: x.clone(), inverse_rms: None } };
    let (y, inverse_rms) = norm.forward(kernels, x);
    Normed { y, inverse_rms: Some(inverse_rms) }
}

/// The sum of `x` and `added`, and what [`normed`] gives for it.
fn added_and_normed(
    norm: Option<&RmsNorm>,
    kernels: Kernels,
    x: &Tensor<2>,
    added: Tensor<2>,
) -> (Tensor<2>, Normed) {
    let Some(norm) = norm else {
        let sum = x.clone() + added;
        return (sum.clone(), Normed { y: sum, inverse_rms: None });
    };
    let (sum, y, inverse_rms) = norm.forward_added(kernels, x, added);
    (sum, Normed { y, inverse_rms: Some(inverse_rms) })
}

/// Adds the gradient of the input of [`normed`] to `g`.
fn before_normed(
    norm: Option<&RmsNorm>,
    kernels: Kernels,
    (x, inverse_rms, dy): (&Tensor<2>, Option<&Tensor<2>>, Tensor<2>),
    (g, gradients): (&mut Tensor<2>, &mut Gradients),
) {
    match (norm, inverse_rms) {
        (Some(norm), Some(inverse_rms)) => {
            norm.backward(kernels, norm::BackwardInput { x, inverse_rms, dy: &dy }, g, gradients);
        }
        (Some(_) | None, _) => *g = dy + g.clone(),
    }
}

/// The norm after a branch, if there is one.
fn after(norm: Option<&RmsNorm>, kernels: Kernels, x: Tensor<2>) -> (Tensor<2>, Option<AfterNorm>) {
    let Some(norm) = norm else { return (x, None) };
    let (y, inverse_rms) = norm.forward(kernels, &x);
    (y, Some(AfterNorm { x, inverse_rms }))
}

/// The gradient of the input of [`after`], where it is another than that of the output, `dy`.
fn before_after(
    norm: Option<&RmsNorm>,
    kernels: Kernels,
    (saved, dy): (Option<AfterNorm>, &Tensor<2>),
    gradients: &mut Gradients,
) -> Option<Tensor<2>> {
    let (norm, AfterNorm { x, inverse_rms }) = norm.zip(saved)?;
    let input = norm::BackwardInput { x: &x, inverse_rms: &inverse_rms, dy };
    Some(norm.backward_alone(kernels, input, gradients))
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
