//! How much a message counts, where the data say it.

use ftl_core::dataset::Code;
use serde_json::{Map, Value};

use super::speaker::Role;
use crate::data::fault::Fault;

/// Follows `train` (true, false), OpenAI's `weight` and LLaMA-Factory's `loss_weight` (from 0 on; 1 counts in full).
pub(super) fn given_weight(role: Role, fields: &Map<String, Value>) -> Result<Option<f32>, Fault> {
    let bad = |what: String| Fault::new(Code::BadWeight, what);
    let wish = |key: &str| match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(wish)) => Ok(Some(f32::from(u8::from(*wish)))),
        Some(other) => match other.as_f64().map(|weight| weight as f32) {
            Some(weight) if weight >= 0.0 && weight.is_finite() => Ok(Some(weight)),
            Some(_) | None => Err(bad(format!(
                "has {other} as `{key}`; expected how much it counts: 0 (not learned), 1, or another number from 0 on"
            ))),
        },
    };
    let weight = match (wish("weight")?, wish("loss_weight")?) {
        (Some(one), Some(other)) if one != other => {
            return Err(bad(format!(
                "has {one} as `weight` and {other} as `loss_weight`; expected one of them"
            )));
        }
        (one, other) => one.or(other),
    };
    // `train` says whether, a weight says how much.
    let asked = match (wish("train")?, weight) {
        (Some(train), Some(weight)) if (train > 0.0) != (weight > 0.0) => {
            return Err(bad("says both that it is learned and that it is not".to_owned()));
        }
        (train, weight) => weight.or(train),
    };
    match (role, asked) {
        (Role::Assistant, wish) => Ok(wish),
        (Role::System | Role::Developer | Role::User | Role::Tool | Role::Ipython, Some(wish))
            if wish > 0.0 =>
        {
            Err(bad(format!("is to be learned but has the role `{role}`; only the assistant's can be")))
        }
        (Role::System | Role::Developer | Role::User | Role::Tool | Role::Ipython, wish) => Ok(wish),
    }
}
