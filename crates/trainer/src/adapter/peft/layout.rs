//! What an adapter's config comes to on a model: the low-rank updates with their ranks and scales, and the modules
//! that are kept in full.

use ftl_core::spec::resolved::{LoraScale, LoraVariant};
use ftl_core::{Problem, ProblemKind};

use crate::adapter::peft::target::{blocks_name, layer_index, module_of, names_module, pattern_fits};
use crate::adapter::peft::{AdapterConfig, Modules, PREFIX, Target};
use crate::model::config::{DecoderConfig, Head};
use crate::model::families::{LM_HEAD, expected_tensors};
use crate::model::tensor_file::TensorSpec;

/// The parts of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The low-rank updates, in the order of computation.
    pub low_rank: Vec<LowRank>,
    /// The modules that are kept in full.
    pub saved: Vec<SavedModule>,
    /// The model's own tensors that stand in the file.
    pub kept: Vec<KeptTensor>,
}

/// The low-rank update of one module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRank {
    /// Which module.
    pub target: Target,
    /// Its rank.
    pub r: usize,
    /// What the update is multiplied by.
    pub scale: f64,
    /// What is learned beside the factors.
    pub variant: LoraVariant,
}

/// A module that an adapter keeps in full: its one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedModule {
    /// The tensor's name in the model: `lm_head.weight`.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A tensor of the model itself that an adapter's file holds: PEFT saves embedding and head where they are targets, or
/// were resized (`save_embedding_layers`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTensor {
    /// Its name in the model: `lm_head.weight`.
    pub tensor: String,
    /// Its name in the file: `base_model.model.lm_head.base_layer.weight`.
    pub in_file: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Who named the modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The user, in a spec: every name must be of use.
    InSpec,
    /// Whoever made the adapter: as PEFT, which passes over what fits nothing.
    InFile,
}

impl Layout {
    /// Matches the names of `config` with the modules of `model`.
    ///
    /// # Errors
    /// `InvalidValue` for what fits nothing and `NotAvailable` for what can't be adapted here, each at its key.
    pub fn of(config: &AdapterConfig, model: &DecoderConfig, named: Named) -> Result<Self, Vec<Problem>> {
        let mut finder = Finder { config, model, problems: Vec::new() };
        let targets = finder.targets();
        let saved = finder.saved();
        let low_rank = targets.iter().map(|target| finder.low_rank(*target)).collect();
        match named {
            Named::InSpec => finder.refuse_idle_names(&targets),
            Named::InFile => {}
        }
        let kept = config.kept.clone();
        if finder.problems.is_empty() { Ok(Self { low_rank, saved, kept }) } else { Err(finder.problems) }
    }

    /// Every tensor of the adapter's file: those of each update, then the saved modules.
    pub fn tensors(&self, model: &DecoderConfig) -> Vec<TensorSpec> {
        let factors = self.low_rank.iter().flat_map(|low_rank| low_rank.tensors(model));
        let kept =
            self.kept.iter().map(|kept| TensorSpec { name: kept.in_file.clone(), shape: kept.shape.clone() });
        factors.chain(self.saved.iter().map(SavedModule::tensor_spec)).chain(kept).collect()
    }
}

impl LowRank {
    /// A `[r, inputs]`, B `[outputs, r]`, and DoRA's magnitudes `[outputs]`.
    pub fn tensors(&self, model: &DecoderConfig) -> Vec<TensorSpec> {
        let Self { target, r, variant, .. } = *self;
        let module = target.name();
        let spec = |end: &str, shape| TensorSpec { name: format!("{PREFIX}{module}.{end}"), shape };
        let (a, b) = match target {
            Target::Embedding => ("lora_embedding_A", "lora_embedding_B"),
            Target::Linear { .. } | Target::Head => ("lora_A.weight", "lora_B.weight"),
        };
        let (n_inputs, n_outputs) = (target.inputs(model), target.outputs(model));
        let mut tensors = vec![spec(a, vec![r, n_inputs]), spec(b, vec![n_outputs, r])];
        match variant {
            LoraVariant::Plain => {}
            LoraVariant::Dora => tensors.push(spec("lora_magnitude_vector", vec![n_outputs])),
        }
        tensors
    }
}

impl SavedModule {
    /// The tensor as the adapter's file has it.
    pub fn tensor_spec(&self) -> TensorSpec {
        TensorSpec { name: format!("{PREFIX}{}", self.tensor), shape: self.shape.clone() }
    }
}

struct Finder<'a> {
    config: &'a AdapterConfig,
    model: &'a DecoderConfig,
    problems: Vec<Problem>,
}

impl Finder<'_> {
    fn targets(&mut self) -> Vec<Target> {
        let AdapterConfig { target_modules, exclude_modules, variant, .. } = self.config;
        let mut targets = Vec::new();
        for target in Target::all(self.model) {
            let found = target_modules
                .include(target)
                .map_err(|message| ("target_modules", message))
                .and_then(|is_named| {
                    let excluded = exclude_modules.as_ref().map_or(Ok(false), |out| out.include(target));
                    let excluded = excluded.map_err(|message| ("exclude_modules", message))?;
                    let layer = self.is_in_layers(target).map_err(|message| ("layers_pattern", message))?;
                    Ok(is_named && !excluded && layer && !self.is_saved(target))
                });
            match found {
                Ok(true) => targets.push(target),
                Ok(false) => {}
                Err((key, message)) => {
                    self.refuse(ProblemKind::InvalidValue, key, message);
                    return Vec::new();
                }
            }
        }
        if targets.contains(&Target::Embedding) && *variant == LoraVariant::Dora {
            let message = "DoRA on `embed_tokens` is not available in this version".to_owned();
            self.refuse(ProblemKind::NotAvailable, "target_modules", message);
        }
        if targets.is_empty() && self.problems.is_empty() {
            self.refuse_nothing();
        }
        targets
    }

    /// Nothing would get an update: says which name is at fault.
    fn refuse_nothing(&mut self) {
        match &self.config.target_modules {
            Modules::Named(names) if names.is_empty() => {
                self.refuse_target("names no module".to_owned());
            }
            Modules::Named(names) => {
                let unfit: Vec<_> = names.iter().filter(|name| !self.fits_one(name)).cloned().collect();
                unfit.iter().for_each(|name| self.refuse_unfit(name));
                if unfit.is_empty() {
                    self.refuse_target("no module is left that would get an adapter".to_owned());
                }
            }
            Modules::Pattern(pattern) => {
                self.refuse_target(format!("`{pattern}` fits no linear of this model"));
            }
            Modules::AllLinear => {
                self.refuse_target("no module is left that would get an adapter".to_owned());
            }
        }
    }

    fn fits_one(&self, name: &str) -> bool {
        Target::all(self.model).iter().any(|target| names_module(name, &target.name()))
    }

    fn refuse_unfit(&mut self, name: &str) {
        self.refuse_target(format!("`{name}` is no linear of this model"));
    }

    fn refuse_target(&mut self, message: String) {
        let hint = format!("choose from {}", Target::short_names(self.model).join(", "));
        self.problems.push(Problem::new(ProblemKind::InvalidValue, message).at("target_modules").hint(hint));
    }

    fn is_in_layers(&self, target: Target) -> Result<bool, String> {
        let AdapterConfig { target_modules, layers_to_transform, layers_pattern, .. } = self.config;
        let Some(layers) = layers_to_transform.as_ref().filter(|layers| !layers.is_empty()) else {
            return Ok(true);
        };
        if target_modules.hold_full_name(target) {
            return Ok(true);
        }
        let index = layer_index(&target.name(), layers_pattern)?;
        Ok(index.is_some_and(|index| layers.contains(&index)))
    }

    /// A module that is kept in full gets no update, nor does what is inside it.
    fn is_saved(&self, target: Target) -> bool {
        let parts = format!(".{}.", target.name());
        self.config.modules_to_save.iter().any(|name| parts.contains(&format!(".{name}.")))
    }

    fn low_rank(&mut self, target: Target) -> LowRank {
        let AdapterConfig { r, lora_alpha, rank_pattern, alpha_pattern, scale, variant, .. } = self.config;
        let r = self.value(target, ("rank_pattern", rank_pattern), *r);
        let alpha = self.value(target, ("alpha_pattern", alpha_pattern), *lora_alpha);
        let scale = match scale {
            LoraScale::ByRank => alpha / r as f64,
            LoraScale::ByRootOfRank => alpha / (r as f64).sqrt(),
        };
        LowRank { target, r, scale, variant: *variant }
    }

    /// The value of the first key that fits, or that of all modules.
    fn value<T: Copy>(&mut self, target: Target, (key, pattern): (&str, &[(String, T)]), of_all: T) -> T {
        for (name, value) in pattern {
            match pattern_fits(name, &target.name()) {
                Ok(true) => return *value,
                Ok(false) => {}
                // Told once, with the names that are of no use.
                Err(message) if self.problems.iter().all(|problem| problem.message != message) => {
                    self.refuse(ProblemKind::InvalidValue, key, message);
                }
                Err(_) => {}
            }
        }
        of_all
    }

    /// The tensors that `modules_to_save` keeps: of every module whose name ends in one of the names.
    fn saved(&mut self) -> Vec<SavedModule> {
        let names = &self.config.modules_to_save;
        let linears: Vec<String> = Target::all(self.model).into_iter().map(Target::name).collect();
        let mut saved = Vec::new();
        for SavedModule { tensor, shape } in savable(self.model) {
            if names.iter().any(|name| module_of(&tensor).ends_with(name.as_str())) {
                saved.push(SavedModule { tensor, shape });
            }
        }
        let is_savable = |module: &str| saved.iter().any(|saved| module_of(&saved.tensor) == module);
        let mut problems = Vec::new();
        for name in names {
            // PEFT keeps whole blocks and single linears too.
            let inside = |module: &String| {
                module.ends_with(name.as_str()) || format!(".{module}.").contains(&format!("{name}."))
            };
            if linears.iter().any(|module| inside(module) && !is_savable(module)) {
                problems.push(Problem::new(
                    ProblemKind::NotAvailable,
                    format!("`{name}` can't be trained in full beside an adapter in this version"),
                ));
            } else if !saved.iter().any(|saved| module_of(&saved.tensor).ends_with(name.as_str())) {
                problems.push(Problem::new(
                    ProblemKind::InvalidValue,
                    format!("`{name}` is no module of this model that can be saved"),
                ));
            }
        }
        let mut known: Vec<String> =
            savable(self.model).iter().map(|module| last_part(&module.tensor)).collect();
        known.sort_unstable();
        known.dedup();
        let hint = format!("choose from {}", known.join(", "));
        self.problems.extend(problems.into_iter().map(|p| p.at("modules_to_save").hint(hint.clone())));
        saved
    }

    /// Names in a spec that change nothing are mistakes.
    fn refuse_idle_names(&mut self, targets: &[Target]) {
        let AdapterConfig { target_modules, rank_pattern, alpha_pattern, layers_to_transform, .. } =
            self.config;
        if let Modules::Named(names) = target_modules
            && !self.problems.iter().any(|problem| problem.field.as_deref() == Some("target_modules"))
        {
            let unfit: Vec<_> = names.iter().filter(|name| !self.fits_one(name)).cloned().collect();
            unfit.iter().for_each(|name| self.refuse_unfit(name));
        }
        let ranks = rank_pattern.iter().map(|(name, _)| ("rank_pattern", name));
        let alphas = alpha_pattern.iter().map(|(name, _)| ("alpha_pattern", name));
        for (key, name) in ranks.chain(alphas).collect::<Vec<_>>() {
            let fits = targets.iter().any(|target| pattern_fits(name, &target.name()).unwrap_or(true));
            if !fits && !targets.is_empty() {
                let message = format!("`{name}` fits no module that gets an adapter");
                let hint = "name one as `q_proj` or `layers.0.self_attn.q_proj`";
                self.problems.push(Problem::new(ProblemKind::InvalidValue, message).at(key).hint(hint));
            }
        }
        let n_layers = self.model.n_layers;
        for layer in layers_to_transform.iter().flatten().filter(|layer| **layer >= n_layers) {
            let message = format!("layer {layer} is not there: the model has {n_layers} {}", blocks_name());
            let hint = format!("choose from 0 to {}", n_layers - 1);
            self.problems
                .push(Problem::new(ProblemKind::InvalidValue, message).at("layers_to_transform").hint(hint));
        }
    }

    fn refuse(&mut self, kind: ProblemKind, key: &str, message: String) {
        self.problems.push(Problem::new(kind, message).at(key));
    }
}

/// The modules of a model that can be kept in full: embedding, norms and head, also where the head is tied.
fn savable(model: &DecoderConfig) -> Vec<SavedModule> {
    let linears: Vec<String> = Target::all(model)
        .into_iter()
        .filter(|target| matches!(target, Target::Linear { .. }))
        .map(Target::name)
        .collect();
    let is_of_linear = |tensor: &str| {
        let module = tensor.rsplit_once('.').map_or(tensor, |(module, _)| module);
        linears.iter().any(|linear| linear == module)
    };
    let mut modules: Vec<_> = expected_tensors(model)
        .into_iter()
        .map(|tensor| SavedModule { shape: tensor.shape(), tensor: tensor.name })
        .filter(|module| !is_of_linear(&module.tensor))
        .collect();
    match model.head {
        Head::Separate => {}
        Head::Tied => {
            let shape = vec![model.vocab_size, model.hidden_size];
            modules.push(SavedModule { tensor: LM_HEAD.to_owned(), shape });
        }
    }
    modules
}

fn last_part(tensor: &str) -> String {
    let module = module_of(tensor);
    module.rsplit_once('.').map_or(module, |(_, last)| last).to_owned()
}
