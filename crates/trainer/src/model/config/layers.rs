//! What differs between the blocks of one model: how far they look back, and whether and how they turn heads.

use serde_json::Value;

use crate::model::config::keys::Keys;
use crate::model::families::{Family, Rotary, Windows};

/// What differs between the blocks of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerConfig {
    /// A query sees this many keys at most, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Which of the model's [`ropes`](super::DecoderConfig::ropes); `None`: positions are not turned.
    pub rope_index: Option<usize>,
}

/// As far as positions are counted.
const MAX_WINDOW: usize = 1 << 31;

/// Reads the layers; beside problems stand values to go on with.
pub(super) fn read(keys: &mut Keys<'_>, family: &Family, n_layers: usize) -> Vec<LayerConfig> {
    let has_rope = layers_with_rope(keys, family.rotary, n_layers);
    let Sliding { window, slides } = sliding(keys, family, &has_rope);
    let rope_index = |layer_index: usize| match family.rotary {
        Rotary::Whole | Rotary::Partial => Some(0),
        Rotary::SomeLayers { .. } => has_rope[layer_index].then_some(0),
        Rotary::LocalAndGlobal { .. } => Some(usize::from(slides[layer_index])),
    };
    (0..n_layers)
        .map(|layer_index| LayerConfig {
            window: window.filter(|_| slides[layer_index]),
            rope_index: rope_index(layer_index),
        })
        .collect()
}

/// Whether each layer turns its heads.
fn layers_with_rope(keys: &mut Keys<'_>, rotary: Rotary, n_layers: usize) -> Vec<bool> {
    const KEY: &str = "no_rope_layers";
    let interval = match rotary {
        Rotary::Whole | Rotary::Partial | Rotary::LocalAndGlobal { .. } => return vec![true; n_layers],
        Rotary::SomeLayers { interval } => keys.count("no_rope_layer_interval", interval, MAX_WINDOW),
    };
    let Some(value) = keys.get(KEY) else {
        return (1..=n_layers).map(|n| !n.is_multiple_of(interval)).collect();
    };
    let flag = |value: &Value| value.as_u64().filter(|flag| *flag <= 1).map(|flag| flag == 1);
    let flags: Option<Vec<bool>> = value.as_array().and_then(|list| list.iter().map(flag).collect());
    match flags {
        Some(mut flags) if flags.len() >= n_layers => {
            flags.truncate(n_layers);
            flags
        }
        Some(_) | None => {
            let message =
                format!("`{KEY}` is {value}, but must be a list of 0 and 1 for each of {n_layers} layers");
            keys.refuse_key(KEY, message);
            vec![true; n_layers]
        }
    }
}

struct Sliding {
    window: Option<usize>,
    /// Whether each layer has the window.
    slides: Vec<bool>,
}

fn sliding(keys: &mut Keys<'_>, family: &Family, has_rope: &[bool]) -> Sliding {
    let n_layers = has_rope.len();
    let read = |keys: &mut Keys<'_>| {
        keys.count_or_none("sliding_window", family.defaults.sliding_window, MAX_WINDOW)
    };
    let (window, by_itself): (Option<usize>, Vec<bool>) = match family.windows {
        Windows::Never => return Sliding { window: None, slides: vec![false; n_layers] },
        Windows::Always => return Sliding { window: read(keys), slides: vec![true; n_layers] },
        Windows::FromLayer { default } => {
            let first = keys.count_in("max_window_layers", default, 0..=MAX_WINDOW);
            let window = keys.flag("use_sliding_window").filter(|used| *used).and_then(|_| read(keys));
            (window, (0..n_layers).map(|layer_index| window.is_some() && layer_index >= first).collect())
        }
        Windows::AllButEvery { n, key } => {
            let n = key.map_or(n, |key| keys.count(key, n, MAX_WINDOW));
            (read(keys), (1..=n_layers).map(|layer| !layer.is_multiple_of(n)).collect())
        }
        Windows::WithoutRope => {
            let window = read(keys);
            let is_used = keys.flag("use_sliding_window") == Some(true) && window.is_some();
            (window, has_rope.iter().map(|has_rope| is_used && !has_rope).collect())
        }
    };
    let slides = layer_types(keys, n_layers).unwrap_or(by_itself);
    if window.is_none() && slides.contains(&true) && keys.fine(&["sliding_window", "use_sliding_window"]) {
        keys.refuse("some layers have `sliding_attention`, but there is no `sliding_window`".to_owned());
    }
    Sliding { window, slides }
}

/// Whether each layer slides, where the file says so layer by layer.
fn layer_types(keys: &mut Keys<'_>, n_layers: usize) -> Option<Vec<bool>> {
    const KEY: &str = "layer_types";
    let value = keys.get(KEY).filter(|_| keys.fine(&["num_hidden_layers"]))?;
    let names: Option<Vec<&str>> = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    let Some(names) = names.filter(|names| names.len() == n_layers) else {
        keys.refuse_key(
            KEY,
            format!("`{KEY}` is {value}, but must be a list of {n_layers} names, one for each layer"),
        );
        return None;
    };
    if let Some(other) = names.iter().find(|name| !matches!(**name, "sliding_attention" | "full_attention")) {
        keys.unsupported(format!(
            "`{KEY}` has `{other}`, but the engine has only `full_attention` and `sliding_attention`"
        ));
        return None;
    }
    Some(names.into_iter().map(|name| name == "sliding_attention").collect())
}
