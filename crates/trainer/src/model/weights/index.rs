//! `model.safetensors.index.json`: which shard holds which tensor. Shards are confined to the directory.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use ftl_core::{Problem, ProblemKind};
use serde_json::Value;

use crate::model::json_file;
use crate::model::tensor_file::TensorFile;

pub(super) struct Sharded {
    pub(super) files: Vec<TensorFile>,
    pub(super) file_of: BTreeMap<String, usize>,
}

/// Opens every shard that the index names, and checks that each tensor is where the index says.
pub(super) fn open(dir: &Path, index: &Path) -> Result<Sharded, Problem> {
    let refuse =
        |message: String| Problem::new(ProblemKind::BrokenModel, message).at(index.display().to_string());
    let json = json_file::read_object(index, ProblemKind::BrokenModel)?;
    let Some(Value::Object(weight_map)) = json.get("weight_map") else {
        return Err(refuse("has no object `weight_map`".to_owned()));
    };
    let mut files: Vec<TensorFile> = Vec::new();
    let mut file_indexes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut file_of = BTreeMap::new();
    for (tensor, shard) in weight_map {
        let Some(shard) = shard.as_str().filter(|shard| is_confined(shard)) else {
            return Err(refuse(format!(
                "`{tensor}` is said to be in {shard}, which is not a file name inside the directory"
            )));
        };
        let file_index = match file_indexes.get(shard) {
            Some(file_index) => *file_index,
            None => {
                let path = dir.join(shard);
                if !path.exists() {
                    return Err(refuse(format!("names the shard `{shard}`, which is not there"))
                        .hint("download the missing file"));
                }
                files.push(TensorFile::open(&path, ProblemKind::BrokenModel)?);
                file_indexes.insert(shard, files.len() - 1);
                files.len() - 1
            }
        };
        if files[file_index].shape(tensor).is_none() {
            return Err(refuse(format!("says that `{tensor}` is in `{shard}`, but it is not there")));
        }
        file_of.insert(tensor.clone(), file_index);
    }
    if files.is_empty() {
        return Err(refuse("has an empty `weight_map`".to_owned()));
    }
    // transformers loads whatever the shards hold; where the index says otherwise, it rules.
    for (file_index, file) in files.iter().enumerate() {
        for name in file.names() {
            file_of.entry(name.to_owned()).or_insert(file_index);
        }
    }
    Ok(Sharded { files, file_of })
}

/// Whether a path stays inside the directory by its text. Links inside are followed: that is how the Hugging Face
/// cache stores files.
fn is_confined(shard: &str) -> bool {
    let mut components = Path::new(shard).components().peekable();
    components.peek().is_some() && components.all(|component| matches!(component, Component::Normal(_)))
}
