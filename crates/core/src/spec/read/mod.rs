//! From a file, or from a value tree, to a [`JobSpec`]: syntax, names and types. Whether the values make sense is
//! [`JobSpec::check`]'s business, and whether the files exist the engine's.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{JobSpec, names_built_in_template, schema};
use crate::error::{Problem, ProblemKind};
use crate::id::{DatasetId, ModelId};

mod assign;
mod compare;
mod suggest;
mod syntax;
mod tree;

/// Longest spec file. Ten thousand data files fit; a dataset given by mistake does not.
const MAX_BYTES: u64 = 4 << 20;

impl JobSpec {
    /// Reads a spec file: TOML, JSON or YAML by its extension, and by trying when it has another. Relative paths in
    /// it are made absolute, relative to its directory.
    ///
    /// # Errors
    /// All unknown keys, wrong types and unknown values at once; or the one place where the syntax breaks.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Vec<Problem>> {
        Self::read_with(path, &[])
    }

    /// Reads a spec file as [`JobSpec::read`] does, after replacing keys by `overrides` of the form
    /// `train.learning_rate=1e-4`. What follows the first `=` is a TOML value, or else text.
    ///
    /// # Errors
    /// As [`JobSpec::read`], and every override that can't be applied.
    pub fn read_with(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, Vec<Problem>> {
        let path = path.as_ref();
        let mut spec = Self::read_as_written(path, overrides)?;
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        spec.make_paths_absolute(file.parent().unwrap_or(Path::new("/")));
        Ok(spec)
    }

    /// Reads a spec file as [`JobSpec::read_with`] does, and leaves its paths as they are.
    ///
    /// # Errors
    /// As [`JobSpec::read_with`].
    pub fn read_as_written(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, Vec<Problem>> {
        let path = path.as_ref();
        let text = text_of(path).map_err(|problem| vec![problem])?;
        let tree = syntax::parse(path, &text).map_err(|problem| vec![problem])?;
        Self::from_changed(tree, overrides)
    }

    /// The spec after replacing keys by `overrides`, as [`JobSpec::read_with`] takes them. Paths stay as they are.
    ///
    /// # Errors
    /// All overrides that can't be applied; or all unknown keys, wrong types and unknown values that they bring.
    pub fn changed(&self, overrides: &[String]) -> Result<Self, Vec<Problem>> {
        let tree = serde_json::to_value(self).map_err(|error| {
            vec![Problem::new(ProblemKind::InvalidValue, format!("the spec can't be written: {error}"))]
        })?;
        Self::from_changed(tree, overrides)
    }

    fn from_changed(mut tree: Value, overrides: &[String]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        for assignment in overrides {
            if let Err(problem) = assign::apply(&mut tree, assignment) {
                problems.push(problem);
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::from_value(tree)
    }

    /// Reads a spec from a value tree. Relative paths stay as they are.
    ///
    /// # Errors
    /// All unknown keys, wrong types and unknown values at once.
    pub fn from_value(mut tree: Value) -> Result<Self, Vec<Problem>> {
        let problems = compare::with_schema(&tree, schema::schema());
        if !problems.is_empty() {
            return Err(problems);
        }
        without_nulls(&mut tree);
        // The schema comes from the same types; what it lets through and serde does not is told as serde tells it.
        serde_json::from_value(tree)
            .map_err(|error| vec![Problem::new(ProblemKind::InvalidValue, error.to_string())])
    }

    /// Makes every relative path of the spec absolute, relative to `base`; `~/` is the home directory. The id of an
    /// imported model or dataset in place of a path stays as it is, and so does the name of a built-in template.
    pub fn make_paths_absolute(&mut self, base: &Path) {
        let Self {
            name: _,
            model,
            data,
            method: _,
            adapter,
            quantization: _,
            train: _,
            predictions: _,
            device: _,
        } = self;
        let eval_path = data.eval.as_mut().and_then(|eval| eval.path.as_mut());
        // A file beats a built-in template of the same name.
        let template = data
            .chat_template
            .as_mut()
            .filter(|template| !names_built_in_template(template) || base.join(template).exists());
        let single = [model.path.as_mut(), template, adapter.init_from.as_mut(), eval_path];
        let files = data.train.iter_mut().map(|file| &mut file.path);
        for path in single.into_iter().flatten().chain(files) {
            *path = absolute(path, base);
        }
    }
}

fn absolute(path: &Path, base: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        // Left for `check` to refuse: joined, it would be the directory itself.
        return PathBuf::new();
    }
    if path.to_str().is_some_and(|text| text.parse::<ModelId>().is_ok() || text.parse::<DatasetId>().is_ok())
    {
        return path.to_path_buf();
    }
    let joined = match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        (_, _) => base.join(path),
    };
    std::path::absolute(&joined).unwrap_or(joined)
}

/// `null` says nothing, as an absent key does. YAML writes it by leaving the value out.
fn without_nulls(tree: &mut Value) {
    if let Value::Object(object) = tree {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(without_nulls);
    }
}

fn text_of(path: &Path) -> Result<String, Problem> {
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        Problem::new(ProblemKind::NotFound, format!("the spec file can't be read: {error}")).at(shown.clone())
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Problem::new(ProblemKind::NotFound, "the spec file is a directory")
            .at(shown)
            .hint("give the path of a TOML, JSON or YAML file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::new(ProblemKind::Syntax, "the spec file is larger than 4 MiB")
            .at(shown)
            .hint("is it a dataset? Name that at `data.train` of a spec"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::new(ProblemKind::Syntax, format!("the spec file is not UTF-8 from byte {at} on"))
            .at(shown.clone())
            .hint("save it as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    if text.trim().is_empty() {
        return Err(Problem::new(ProblemKind::Syntax, "the spec file is empty")
            .at(shown)
            .hint("give at least `model.path`, `data.train`, `method.kind` and `adapter.kind`"));
    }
    Ok(text)
}
