//! Reads single keys of config.json, collects what is wrong with them, and goes on with a stand-in, so that every
//! problem is reported at once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use crate::model::config::quantization;
use crate::model::config::rope::{self, RopeFacts, Ropes};
use crate::model::config::{Bias, Head};
use crate::model::families::{ActivationRule, Defaults, Gelu, Softcap};
use crate::ops::gated_mlp::Activation;

pub(super) struct Keys<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
    problems: Vec<Problem>,
    faulty: BTreeSet<&'static str>,
}

pub(super) struct TokenIds {
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_ids: Vec<u32>,
    pub(super) pad_token_id: Option<u32>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, path: &'a Path) -> Self {
        Self { map, path, problems: Vec::new(), faulty: BTreeSet::new() }
    }

    pub(super) fn finish(self) -> Result<(), Vec<Problem>> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }

    /// Notes a contradiction.
    pub(super) fn refuse(&mut self, message: String) {
        self.problems
            .push(Problem::new(ProblemKind::BrokenModel, message).at(self.path.display().to_string()));
    }

    /// Whether none of these keys was refused, so that a check across them makes sense.
    pub(super) fn fine(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| !self.faulty.contains(key))
    }

    /// A count from 1 to `max`; a missing or null key means `default`.
    pub(super) fn count(&mut self, key: &'static str, default: usize, max: usize) -> usize {
        self.count_in(key, default, 1..=max)
    }

    /// As [`count`](Self::count), in a range of its own.
    pub(super) fn count_in(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let Some(value) = self.get(key) else { return default };
        match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) if range.contains(&count) => count,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.refuse_key(
                    key,
                    format!("`{key}` is {value}, but must be a whole number from {low} to {high}"),
                );
                1
            }
        }
    }

    /// A count from 1 to `max` that null takes away; a missing key means `default`.
    pub(super) fn count_or_none(
        &mut self,
        key: &'static str,
        default: Option<usize>,
        max: usize,
    ) -> Option<usize> {
        match self.map.get(key) {
            None => default,
            Some(Value::Null) => None,
            Some(_) => Some(self.count(key, 1, max)),
        }
    }

    /// A number in a range; a missing or null key means `default`.
    pub(super) fn number(&mut self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let Some(value) = self.get(key) else { return default };
        match value.as_f64() {
            Some(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.refuse_key(
                    key,
                    format!("`{key}` is {value}, but must be a number from {low} to {high}"),
                );
                default
            }
        }
    }

    /// `num_key_value_heads`; null, and a missing key where the family has no number, mean as many as `n_heads`.
    pub(super) fn n_kv_heads(&mut self, default: Option<usize>, n_heads: usize, max: usize) -> usize {
        self.count_or_none("num_key_value_heads", default, max).unwrap_or(n_heads)
    }

    /// `head_dim`, by default the family's or `hidden_size / num_attention_heads`. Rotary positions turn pairs, so it
    /// must be even.
    pub(super) fn head_dim(
        &mut self,
        default: Option<usize>,
        (hidden_size, n_heads): (usize, usize),
        max: usize,
    ) -> usize {
        if self.get("head_dim").is_some() || default.is_some() {
            let head_dim = self.count("head_dim", default.unwrap_or(1), max);
            if self.fine(&["head_dim"]) && head_dim % 2 == 1 {
                self.refuse_key("head_dim", format!("`head_dim` is {head_dim}, but must be even"));
            }
            return head_dim;
        }
        if !self.fine(&["hidden_size", "num_attention_heads"]) {
            return 2;
        }
        let head_dim = hidden_size / n_heads;
        let sizes = format!("`hidden_size` = {hidden_size} and `num_attention_heads` = {n_heads}");
        if !hidden_size.is_multiple_of(n_heads) {
            self.refuse(format!("{sizes} leave no whole `head_dim`"));
        } else if head_dim % 2 == 1 {
            self.refuse(format!("{sizes} make a `head_dim` of {head_dim}, but it must be even"));
        } else if head_dim > max {
            self.refuse(format!("{sizes} make a `head_dim` of {head_dim}, but it must be at most {max}"));
        }
        head_dim
    }

    pub(super) fn ropes(&mut self, facts: &RopeFacts<'_>) -> Ropes {
        let (ropes, problems) = rope::read(self.map, facts, self.path);
        self.problems.extend(problems);
        ropes
    }

    /// A flag; a missing or null key means that there is no bias.
    pub(super) fn bias(&mut self, key: &'static str) -> Bias {
        match self.flag(key) {
            Some(true) => Bias::Present,
            Some(false) | None => Bias::Absent,
        }
    }

    pub(super) fn head(&mut self, default: Head) -> Head {
        match self.flag("tie_word_embeddings") {
            Some(true) => Head::Tied,
            Some(false) => Head::Separate,
            None => default,
        }
    }

    pub(super) fn softcap(&mut self, rule: Softcap) -> Option<f64> {
        match rule {
            Softcap::Never => None,
            Softcap::Key { key, default } => match self.map.get(key) {
                None => default,
                Some(Value::Null) => None,
                Some(_) => Some(self.number(key, 1.0, 1e-3..=1e6)),
            },
        }
    }

    /// What the MLP's gate goes through, by the names of transformers.
    pub(super) fn activation(&mut self, rule: ActivationRule) -> Activation {
        let Some(value) = self.get(rule.key) else { return rule.default };
        match (value.as_str(), rule.gelu) {
            (Some("silu" | "swish"), _) => Activation::Silu,
            // Three names of one formula, and what Gemma's first configs call it.
            (Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast"), _) | (Some("gelu"), Gelu::Tanh) => {
                Activation::GeluTanh
            }
            (Some(_) | None, Gelu::Exact | Gelu::Tanh) => {
                let key = rule.key;
                self.unsupported(format!(
                    "`{key}` is {value}, but the engine has only `silu` and `gelu_pytorch_tanh`"
                ));
                rule.default
            }
        }
    }

    /// Gemma's embedding models look at the tokens behind, too.
    pub(super) fn expect_causal(&mut self) {
        if self.flag("use_bidirectional_attention") == Some(true) {
            self.unsupported(
                "`use_bidirectional_attention` is true, but the engine has only models that look back"
                    .to_owned(),
            );
        }
    }

    /// Weights may be stored in bitsandbytes' 4-bit form; no other way of quantizing is read.
    pub(super) fn expect_readable_quantization(&mut self) {
        if let Some(reason) = self.get("quantization_config").and_then(quantization::unreadable) {
            self.unsupported(reason);
        }
    }

    pub(super) fn token_ids(&mut self, defaults: &Defaults, vocab_size: usize) -> TokenIds {
        let in_vocab = |id: &u32| (*id as usize) < vocab_size;
        let bos_token_id = match self.map.get("bos_token_id") {
            None => defaults.bos_token_id.filter(in_vocab),
            Some(_) => self.token_id_list("bos_token_id", vocab_size).first().copied(),
        };
        let eos_token_ids = match self.map.get("eos_token_id") {
            None => defaults.eos_token_id.into_iter().filter(in_vocab).collect(),
            Some(_) => self.token_id_list("eos_token_id", vocab_size),
        };
        let pad_token_id = match self.get("pad_token_id") {
            // Written by early conversions of LLaMA; PyTorch takes it for "the last row", nobody means that.
            Some(value) if value.as_i64() == Some(-1) => None,
            None if !self.map.contains_key("pad_token_id") => defaults.pad_token_id.filter(in_vocab),
            Some(_) | None => self.token_id_list("pad_token_id", vocab_size).first().copied(),
        };
        TokenIds { bos_token_id, eos_token_ids, pad_token_id }
    }

    /// A token id or a list of them; null is none.
    fn token_id_list(&mut self, key: &'static str, vocab_size: usize) -> Vec<u32> {
        if !self.fine(&["vocab_size"]) {
            return Vec::new();
        }
        let Some(value) = self.get(key) else { return Vec::new() };
        match token_ids(value, vocab_size) {
            Some(ids) => ids,
            None => {
                let message =
                    format!("`{key}` is {value}, but must be token ids below `vocab_size` = {vocab_size}");
                self.refuse_key(key, message);
                Vec::new()
            }
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.refuse_key(key, format!("`{key}` is {value}, but must be true or false"));
        }
        flag
    }

    /// The value of a key; null counts as missing, as in transformers.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn refuse_key(&mut self, key: &'static str, message: String) {
        // One key may be asked for twice: `attention_bias` decides about q, k, v and about o.
        if self.faulty.insert(key) {
            self.refuse(message);
        }
    }

    pub(super) fn unsupported(&mut self, message: String) {
        self.problems
            .push(Problem::new(ProblemKind::UnsupportedModel, message).at(self.path.display().to_string()));
    }
}

/// One id or a list of them, all below `vocab_size`.
pub(super) fn token_ids(value: &Value, vocab_size: usize) -> Option<Vec<u32>> {
    let id = |value: &Value| {
        value.as_u64().filter(|id| *id < vocab_size as u64).and_then(|id| u32::try_from(id).ok())
    };
    match value {
        Value::Array(values) => values.iter().map(id).collect(),
        single => Some(vec![id(single)?]),
    }
}
