//! What a block takes and gives back on its way forward and backward: [`model::block`](crate::model::block) and
//! [`ops::linear`](crate::ops::linear) with sizes in the place of tensors, in the same order. What changes there changes
//! here.

use ftl_core::spec::resolved::Quantization;

use super::ledger::{Held, Part};
use super::shape::{LayerShape, LinearShape};
use super::walk::Walk;
use crate::model::families::BlockNorms;
use crate::ops::linear::{InputGradient, tile_rows};
use crate::plan::{Dropout, Memory};

/// What a block keeps for its backward pass.
pub(super) struct Saved {
    qkv: LinearSaved,
    qk_inverse_rms: Option<Held>,
    attention: Attention,
    o: LinearSaved,
    attention_output: Option<AfterNorm>,
    middle: Held,
    gate_up_out: Held,
    gate_up: LinearSaved,
    down: LinearSaved,
    mlp_output: Option<AfterNorm>,
}

struct Attention {
    qkv: Held,
    y: Held,
    log_sum_exp: Held,
}

struct AfterNorm {
    x: Held,
    inverse_rms: Held,
}

/// What a linear keeps.
#[derive(Default)]
pub(super) struct LinearSaved {
    u: Option<Held>,
    dora: Option<Held>,
}

/// What a norm before a branch gives.
struct Normed {
    y: Held,
    inverse_rms: Option<Held>,
}

impl Walk<'_> {
    /// Takes the output and what is kept, which is counted as `part`.
    pub(super) fn forward(&mut self, layer: &LayerShape, x: &Held, part: Part) -> (Held, Saved) {
        let [qkv, o, gate_up, down] = &layer.linears;
        let BlockNorms { before_attention, after_attention, before_mlp, after_mlp } = layer.norms;
        let input = self.normed(before_attention, x);
        let (qkv_out, qkv) = self.linear_forward(qkv, part);
        self.give_normed(input);
        let (attention, qk_inverse_rms) = match layer.qk_norm {
            None => {
                let turned = self.rotated(layer, qkv_out);
                (self.attention(turned, part), None)
            }
            Some((n_groups, _)) => {
                let inverse_rms = self.statistics(n_groups, part);
                let normed = self.rows(self.shape.qkv_width, Part::Block);
                let turned = self.rotated(layer, normed);
                let Attention { qkv, y, log_sum_exp } = self.attention(turned, part);
                self.ledger.give(qkv);
                (Attention { qkv: qkv_out, y, log_sum_exp }, Some(inverse_rms))
            }
        };
        let (o_out, o) = self.linear_forward(o, part);
        let (added, attention_output) = self.after(after_attention, o_out, part);
        let middle = self.ledger.modify(added);

        let input = self.normed(before_mlp, &middle);
        let (gate_up_out, gate_up) = self.linear_forward(gate_up, part);
        self.give_normed(input);
        let activated = self.rows(down.n_inputs, Part::Block);
        let (down_out, down) = self.linear_forward(down, part);
        let (added, mlp_output) = self.after(after_mlp, down_out, part);
        let y = self.ledger.modify(added);
        self.ledger.give(activated);
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
        (y, saved)
    }

    /// Gives everything back that was kept.
    pub(super) fn drop_saved(&mut self, saved: Saved) {
        let Saved {
            qkv,
            qk_inverse_rms,
            attention: Attention { qkv: attention_qkv, y, log_sum_exp },
            o,
            attention_output,
            middle,
            gate_up_out,
            gate_up,
            down,
            mlp_output,
        } = saved;
        self.ledger.give_all([attention_qkv, y, log_sum_exp, middle, gate_up_out]);
        self.ledger.give_all(qk_inverse_rms);
        for AfterNorm { x, inverse_rms } in [attention_output, mlp_output].into_iter().flatten() {
            self.ledger.give_all([x, inverse_rms]);
        }
        for linear in [qkv, o, gate_up, down] {
            self.drop_linear(linear);
        }
    }

    /// The gradient of the output is changed into that of the input in place.
    pub(super) fn backward(&mut self, layer: &LayerShape, x: &Held, saved: Saved, want: InputGradient) {
        let [of_qkv, of_o, of_gate_up, of_down] = &layer.linears;
        let BlockNorms { before_attention, before_mlp, .. } = layer.norms;
        let Saved {
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
        } = saved;

        let through = self.before_after(mlp_output);
        let activated = self.rows(of_down.n_inputs, Part::Block);
        let d_activated = self.linear_backward(of_down, InputGradient::Wanted);
        self.ledger.give(activated);
        self.ledger.give_all(through);
        let d_gate_up = self.ledger.modify(gate_up_out);
        self.ledger.give_all(d_activated);
        let input = self.normed(before_mlp, &middle);
        let d_input = self.linear_backward(of_gate_up, InputGradient::Wanted);
        self.ledger.give(d_gate_up);
        self.ledger.give_all(d_input);
        self.give_normed(input);

        let through = self.before_after(attention_output);
        let d_attention = self.linear_backward(of_o, InputGradient::Wanted);
        self.ledger.give_all(through);
        let width = self.shape.qkv_width;
        let Attention { qkv: attention_qkv, y, log_sum_exp } = attention;
        let d_qkv = match qk_inverse_rms {
            None => {
                let d_qkv = self.rows(width, Part::Block);
                self.ledger.give_all([attention_qkv, y, log_sum_exp]);
                d_qkv
            }
            Some(inverse_rms) => {
                let (n_groups, _) = layer.qk_norm.expect("what is kept of a norm is there where the norm is");
                let again = self.statistics(n_groups, Part::Block);
                let normed = self.rows(width, Part::Block);
                let turned = self.rotated(layer, normed);
                let d_qkv = self.rows(width, Part::Block);
                self.ledger.give_all([turned, y, log_sum_exp, again, attention_qkv, inverse_rms]);
                d_qkv
            }
        };
        let d_qkv = self.ledger.modify(d_qkv);
        let input = self.normed(before_attention, x);
        let d_input = self.linear_backward(of_qkv, want);
        self.ledger.give_all(d_input);
        self.give_normed(input);
        self.ledger.give_all(d_attention);
        self.ledger.give_all([d_qkv, middle]);
        for linear in [qkv, o, gate_up, down] {
            self.drop_linear(linear);
        }
    }

    pub(super) fn linear_forward(&mut self, linear: &LinearShape, part: Part) -> (Held, LinearSaved) {
        let (n, n_outputs, is_dora) = (self.n_rows, linear.n_outputs(), linear.is_dora());
        if is_dora {
            let dropped = self.dropped(linear);
            let u = self.rows(linear.n_ranks(), part);
            let y = self.rows(n_outputs, part);
            self.product(linear, n, linear.n_inputs);
            self.ledger.give_all(dropped);
            let kept = match self.work.dropout {
                // y is kept, and whoever changes it makes a copy.
                Dropout::Absent => self.ledger.share(&y),
                Dropout::Present => self.rows(n_outputs, part),
            };
            return (y, LinearSaved { u: Some(u), dora: Some(kept) });
        }
        let y = self.rows(n_outputs, part);
        self.product(linear, n, linear.n_inputs);
        let u = linear.lora.as_ref().map(|_| {
            let dropped = self.dropped(linear);
            let u = self.rows(linear.n_ranks(), part);
            self.ledger.give_all(dropped);
            u
        });
        (y, LinearSaved { u, dora: None })
    }

    /// Takes the gradient of the input.
    pub(super) fn linear_backward(&mut self, linear: &LinearShape, want: InputGradient) -> Option<Held> {
        let n = self.n_rows;
        let n_outputs = linear.n_outputs();
        let scaled = linear.is_dora().then(|| self.rows(n_outputs, Part::Block));
        let is_wanted = want == InputGradient::Wanted;
        let dx = is_wanted.then(|| self.rows(linear.n_inputs, Part::Block));
        if is_wanted {
            self.product(linear, n, n_outputs);
        }
        if linear.lora.is_none() {
            self.product(linear, n_outputs, n);
        } else {
            let du = self.rows(linear.n_ranks(), Part::Block);
            let dropped = self.dropped(linear);
            self.ledger.give_all(dropped);
            // What goes back through the update is masked before it is added.
            let back = self.dropped(linear).filter(|_| is_wanted);
            self.ledger.give_all(back);
            self.ledger.give(du);
        }
        self.ledger.give_all(scaled);
        dx
    }

    pub(super) fn drop_linear(&mut self, LinearSaved { u, dora }: LinearSaved) {
        self.ledger.give_all(u);
        self.ledger.give_all(dora);
    }

    /// The input of an update with some values dropped, where that happens.
    fn dropped(&mut self, linear: &LinearShape) -> Option<Held> {
        match self.work.dropout {
            Dropout::Absent => None,
            Dropout::Present => Some(self.rows(linear.n_inputs, Part::Block)),
        }
    }

    /// What a product with the weights of a linear takes beside its operands and its result.
    fn product(&mut self, linear: &LinearShape, n_rows: usize, inner: usize) {
        match linear.quantization {
            Quantization::None => {}
            Quantization::Nf4(_) => {
                let values = match self.machine.memory {
                    Memory::Cpu => {
                        tile_rows(linear.n_inputs, linear.n_outputs()) * linear.n_inputs * size_of::<f32>()
                    }
                    Memory::Gpu => linear.n_values() * self.machine.precision.activation_bytes,
                };
                self.reserve_tile(values);
            }
        }
        self.pack(n_rows, inner);
    }

    fn attention(&mut self, qkv: Held, part: Part) -> Attention {
        let log_sum_exp = self.statistics(self.shape.n_heads, part);
        Attention { qkv, log_sum_exp, y: self.rows(self.shape.q_width, part) }
    }

    fn rotated(&mut self, layer: &LayerShape, qkv: Held) -> Held {
        match layer.rope_index {
            Some(_) => self.ledger.modify(qkv),
            None => qkv,
        }
    }

    /// The norm before a branch.
    fn normed(&mut self, norm: Option<&str>, x: &Held) -> Normed {
        match norm {
            None => Normed { y: self.ledger.share(x), inverse_rms: None },
            Some(_) => {
                let inverse_rms = self.statistics(1, Part::Block);
                Normed { y: self.rows(self.shape.hidden, Part::Block), inverse_rms: Some(inverse_rms) }
            }
        }
    }

    fn give_normed(&mut self, Normed { y, inverse_rms }: Normed) {
        self.ledger.give(y);
        self.ledger.give_all(inverse_rms);
    }

    /// The norm after a branch.
    fn after(&mut self, norm: Option<&str>, x: Held, part: Part) -> (Held, Option<AfterNorm>) {
        if norm.is_none() {
            return (x, None);
        }
        let inverse_rms = self.statistics(1, part);
        (self.rows(self.shape.hidden, Part::Activations), Some(AfterNorm { x, inverse_rms }))
    }

    /// The gradient of what goes into a norm after a branch.
    fn before_after(&mut self, norm: Option<AfterNorm>) -> Option<Held> {
        let AfterNorm { x, inverse_rms } = norm?;
        let dx = self.zeros();
        self.ledger.give_all([x, inverse_rms]);
        Some(dx)
    }
}
