//! From an adapter directory to a decoder that has the adapter.

use std::collections::HashMap;
use std::path::Path;

use ftl_core::Problem;

use crate::adapter::lora::{self, LoraConfig, LoraSource};
use crate::adapter::peft::{AdapterConfig, AdapterWeights, Factor};
use crate::model::decoder::Decoder;

/// Reads the PEFT adapter in `dir`, attaches it, and returns the names of the modules it changes.
///
/// # Errors
/// What is wrong with the directory, or why it does not fit the model; the decoder is unchanged then.
pub fn attach_directory(decoder: &mut Decoder, dir: &Path) -> Result<Vec<String>, Vec<Problem>> {
    let config = AdapterConfig::read(dir)?;
    let weights = AdapterWeights::open(dir, &config, &decoder.config)?;
    let by_module: HashMap<String, _> =
        weights.targets().iter().map(|target| (target.name(), *target)).collect();
    let read = |name: &str, values: &mut [f32]| {
        let factors = [(".lora_A.weight", Factor::A), (".lora_B.weight", Factor::B)];
        let of_factor = |(ending, factor)| Some((name.strip_suffix(ending)?, factor));
        let (module, factor) =
            factors.into_iter().find_map(of_factor).expect("the tensors of an adapter are A and B");
        let module = module.strip_prefix(lora::PEFT_PREFIX).expect("the tensors have PEFT's names");
        let target = by_module.get(module).expect("both sides follow the same rule for targets");
        values.copy_from_slice(&weights.read_f32(*target, factor));
    };
    let AdapterConfig { r, lora_alpha, lora_dropout_prob, target_modules, base_model_name_or_path: _ } =
        config.clone();
    let config = LoraConfig { r, lora_alpha, lora_dropout_prob, target_modules };
    lora::attach(decoder, &config, &LoraSource::Tensors(&read)).map_err(|problem| vec![problem])
}
