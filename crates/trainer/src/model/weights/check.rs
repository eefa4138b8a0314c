//! What a config asks for against what the files hold.
//!
//! One wrong key of config.json makes dozens of tensors wrong; they are told as one problem that names the key.

use std::collections::{BTreeMap, HashSet};

use ftl_core::{Problem, ProblemKind};

use crate::model::config::{CONFIG_JSON, DecoderConfig, Head};
use crate::model::families::{DimKey, ExpectedTensor, LAYERS, LM_HEAD, expected_tensors};
use crate::model::weights::{WeightFiles, bitsandbytes};

pub(super) fn check(files: &WeightFiles, config: &DecoderConfig) -> Vec<Problem> {
    let expected = expected_tensors(config);
    let n_layers_found = n_layers(files);
    let mut problems = Vec::new();
    if n_layers_found != config.n_layers {
        problems.push(other_n_layers(files, config, n_layers_found));
    }
    // What is wrong with the number of layers was told; the rest is compared for the layers that both have.
    let n_layers = n_layers_found.min(config.n_layers);
    let both_have = |name: &str| layer_index(name).is_none_or(|layer_index| layer_index < n_layers);
    let expected: Vec<_> = expected.into_iter().filter(|tensor| both_have(&tensor.name)).collect();

    // Those in 4 bits are judged by their own rules.
    let (nf4, dense): (Vec<_>, Vec<_>) =
        expected.iter().cloned().partition(|tensor| bitsandbytes::is_nf4(files, &tensor.name));
    problems.extend(nf4.iter().filter_map(|tensor| bitsandbytes::problem(files, tensor)));

    problems.extend(missing(files, config, &dense));
    problems.extend(wrong_dtypes(files, &dense));
    problems.extend(wrong_shapes(files, config, &dense));
    let known: HashSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
    problems.extend(unknown(files, config, |name| {
        known.contains(name) || !both_have(name) || bitsandbytes::belongs_to_nf4(files, name)
    }));
    problems
}

fn other_n_layers(files: &WeightFiles, config: &DecoderConfig, found: usize) -> Problem {
    let asked = config.n_layers;
    let message = if found < asked {
        format!(
            "{CONFIG_JSON} says num_hidden_layers = {asked}, but the files have {found} layers: \
             `{LAYERS}{found}.…` is not there"
        )
    } else {
        let extra = format!("{LAYERS}{asked}.");
        let name = files.names().find(|name| name.starts_with(&extra)).unwrap_or(&extra);
        format!(
            "{CONFIG_JSON} says num_hidden_layers = {asked}, but the files have {found} layers, such as `{name}`"
        )
    };
    Problem::new(ProblemKind::BrokenModel, message).hint("use the config.json that belongs to these weights")
}

/// Tensors that are not in the files: those that one config key explains, and the rest.
fn missing(files: &WeightFiles, config: &DecoderConfig, expected: &[ExpectedTensor]) -> Vec<Problem> {
    let missing: Vec<&str> = expected
        .iter()
        .map(|tensor| tensor.name.as_str())
        .filter(|name| files.shape(name).is_none())
        .collect();
    let mut by_reason: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for name in missing {
        by_reason.entry(presence_key(name, config)).or_default().push(name);
    }
    by_reason
        .into_iter()
        .map(|(key, names)| {
            let tensors = first_of(&names);
            let message = match key {
                Some(LM_HEAD) => format!(
                    "{CONFIG_JSON} says tie_word_embeddings = false, but {tensors} is not in the files"
                ),
                Some(key) => format!("{CONFIG_JSON} says {key} = true, but {tensors} is not in the files"),
                None => format!("{tensors} is not in the files"),
            };
            Problem::new(ProblemKind::BrokenModel, message)
        })
        .collect()
}

/// The config key that decides whether a tensor is there; the head's own name stands for `tie_word_embeddings`.
fn presence_key(name: &str, config: &DecoderConfig) -> Option<&'static str> {
    if name == LM_HEAD {
        return Some(LM_HEAD);
    }
    let module = name.strip_suffix(".bias")?;
    let linear = config.family.linears.iter().find(|linear| module.ends_with(linear.path()))?;
    linear.bias_key(config.family)
}

fn wrong_dtypes(files: &WeightFiles, expected: &[ExpectedTensor]) -> Vec<Problem> {
    let mut by_dtype: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for tensor in expected {
        if let Some(dtype) = files.file(&tensor.name).and_then(|file| file.unreadable_dtype(&tensor.name)) {
            by_dtype.entry(dtype).or_default().push(&tensor.name);
        }
    }
    by_dtype
        .into_iter()
        .map(|(dtype, names)| {
            let message =
                format!("{} is stored as {dtype}, but only F32, BF16 and F16 are read", first_of(&names));
            Problem::new(ProblemKind::UnsupportedModel, message)
                .at(path_of(files, names[0]))
                .hint("use the unquantized model")
        })
        .collect()
}

fn wrong_shapes(files: &WeightFiles, config: &DecoderConfig, expected: &[ExpectedTensor]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut by_key: BTreeMap<(DimKey, usize), Vec<&ExpectedTensor>> = BTreeMap::new();
    for tensor in expected {
        let Some(found) = files.shape(&tensor.name) else { continue };
        if found.len() != tensor.dims.len() {
            let message = format!("`{}` has shape {found:?}, expected {:?}", tensor.name, tensor.shape());
            problems.push(Problem::new(ProblemKind::BrokenModel, message).at(path_of(files, &tensor.name)));
            continue;
        }
        for (dim, found) in tensor.dims.iter().zip(found) {
            if dim.size != *found {
                by_key.entry((dim.from, *found)).or_default().push(tensor);
            }
        }
    }
    problems.extend(by_key.into_iter().map(|((key, _), tensors)| {
        let first = tensors[0];
        let found = files.shape(&first.name).unwrap_or_default();
        let others = match tensors.len() - 1 {
            0 => String::new(),
            n_others => format!(" ({n_others} more disagree in the same way)"),
        };
        let message = format!(
            "{CONFIG_JSON} says {}, which gives `{}` the shape {:?}, but it has {found:?}{others}",
            key.describe(config),
            first.name,
            first.shape(),
        );
        Problem::new(ProblemKind::BrokenModel, message)
            .at(path_of(files, &first.name))
            .hint("use the config.json that belongs to these weights")
    }));
    problems
}

/// Tensors that the model would not use: it would not be the model that was trained.
fn unknown(files: &WeightFiles, config: &DecoderConfig, known: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut by_reason: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for name in files.names().filter(|name| !known(name) && !is_harmless(name, config)) {
        by_reason.entry(presence_key(name, config)).or_default().push(name);
    }
    by_reason
        .into_iter()
        .map(|(key, names)| {
            let tensors = first_of(&names);
            let message = match key {
                Some(key) => format!("{CONFIG_JSON} says {key} = false, but the files have {tensors}"),
                None => format!("{} has no tensor {tensors}", config.family.architecture),
            };
            Problem::new(ProblemKind::BrokenModel, message).at(path_of(files, names[0]))
        })
        .collect()
}

/// Old files hold what is computed anyway, or the embedding once more as a tied head.
fn is_harmless(name: &str, config: &DecoderConfig) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || (name == LM_HEAD && config.head == Head::Tied)
}

/// Layers in the files: one more than the highest index.
fn n_layers(files: &WeightFiles) -> usize {
    files.names().filter_map(layer_index).max().map_or(0, |layer_index| layer_index.saturating_add(1))
}

fn layer_index(name: &str) -> Option<usize> {
    name.strip_prefix(LAYERS)?.split_once('.')?.0.parse().ok()
}

fn path_of(files: &WeightFiles, name: &str) -> String {
    files.file(name).map_or_else(String::new, |file| file.path().display().to_string())
}

/// The first name, and how many more there are.
fn first_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => format!("`{name}`"),
        [name, others @ ..] => format!("`{name}` (and {} more)", others.len()),
    }
}
