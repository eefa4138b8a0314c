//! `digests.jsonl`: what each step came to, bit by bit, so that two runs can be compared step by step.
//!
//! ```text
//! {"step":12,"loss":"3fe6a09e667f3bcd","grad_norm":"3ff6a09e667f3bcd","weights":"9c5f3a0d11e27b64"}
//! ```
//!
//! `loss` and `grad_norm` are the bits of the step's numbers, as `f64`; `weights` is a hash of trained weights after it:
//! of all that an adapter has, and of the model's own, where those are trained, a sixteenth, in turn. With all of them a
//! short step would take some percent longer, and a weight that differs once differs for good, in all losses and norms that
//! follow too. On a GPU there is none: reading weights back would cost as much as the step. A step that is taken again, because a process died
//! after it and before the next checkpoint, has two lines, of which the last counts; they must be the same.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::TrainError;
use crate::kernels::cpu::hash::{PIECE_VALUES, hash};
use crate::kernels::{Kernels, cpu};
use crate::model::decoder::Decoder;
use crate::ops::param::Owner;

/// Steps in which all weights of the model had their turn.
const TURNS: usize = 16;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDigest {
    /// Counts from 1.
    pub step: u64,
    /// The loss.
    pub loss: Bits,
    /// The global gradient norm before clipping.
    pub grad_norm: Bits,
    /// A hash of trained weights after the step; `None`: on a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Bits>,
}

/// 64 bits, written as 16 hexadecimal digits: JSON's numbers have no room for them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bits(pub u64);

/// What of a step differs, in the order in which it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPart {
    /// The loss.
    Loss,
    /// The gradient norm; the loss is the same.
    GradNorm,
    /// The weights after the step; loss and norm are the same.
    Weights,
}

/// Where two digests of one step differ first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepDifference {
    /// The step.
    pub step: u64,
    /// In what.
    pub part: StepPart,
    /// The first run's: a number with all its digits, or a hash.
    pub a: String,
    /// The second run's.
    pub b: String,
}

impl StepDifference {
    /// What to say where an earlier attempt took the same step, and nothing of it was kept but what it came to.
    pub fn of_a_step_taken_again(&self) -> String {
        format!(
            "{self}, when it was taken first and again: the same numbers come only of the same device, program and \
             number of threads"
        )
    }
}

impl StepDigest {
    /// Of a step that was just taken.
    pub fn of(step: u64, (loss_nats, grad_norm): (f64, f64), decoder: &Decoder) -> Self {
        let [loss, grad_norm] = [loss_nats, grad_norm].map(|number| Bits(number.to_bits()));
        Self { step, loss, grad_norm, weights: hash_of_weights(decoder, step).map(Bits) }
    }

    /// The first part in which `other` differs, of those that both have.
    pub fn difference(&self, other: &Self) -> Option<StepDifference> {
        let of = |part, a: String, b: String| StepDifference { step: self.step, part, a, b };
        let number = |bits: Bits| f64::from_bits(bits.0).to_string();
        if self.loss != other.loss {
            return Some(of(StepPart::Loss, number(self.loss), number(other.loss)));
        }
        if self.grad_norm != other.grad_norm {
            return Some(of(StepPart::GradNorm, number(self.grad_norm), number(other.grad_norm)));
        }
        let (a, b) = (self.weights?, other.weights?);
        (a != b).then(|| of(StepPart::Weights, a.to_string(), b.to_string()))
    }
}

/// A hash of the trained weights whose turn it is after `step`; `None` on a GPU.
pub fn hash_of_weights(decoder: &Decoder, step: u64) -> Option<u64> {
    match decoder.kernels {
        Kernels::Plain | Kernels::Cube(_) => return None,
        Kernels::Cpu => {}
    }
    let (mut of_adapter, mut of_model) = (Vec::new(), Vec::new());
    decoder.for_each_param(&mut |param| {
        if param.slot.is_some() {
            let values = cpu::tensor::values(&param.value);
            match param.owner {
                Owner::Adapter => of_adapter.push(values),
                Owner::Base | Owner::Copy | Owner::Kept => of_model.push(values),
            }
        }
    });
    let pieces: Vec<&[f32]> = of_model.iter().flat_map(|values| values.chunks(PIECE_VALUES)).collect();
    let n_turns = pieces.len().clamp(1, TURNS);
    let turn = pieces.iter().copied().skip(step as usize % n_turns).step_by(n_turns);
    Some(hash(&of_adapter.iter().map(|values| &**values).chain(turn).collect::<Vec<_>>()))
}

impl StepPart {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::GradNorm => "gradient norm",
            Self::Weights => "weights",
        }
    }
}

impl fmt::Display for StepDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, part, a, b } = self;
        write!(f, "step {step} differs in its {}: {a} and {b}", part.name())
    }
}

/// Appends the digests of a run's steps. Until it is opened it writes nothing.
#[derive(Debug, Default)]
pub struct Digests {
    file: Option<(File, PathBuf)>,
    /// Of the steps that an earlier attempt took and this one takes again.
    earlier: BTreeMap<u64, StepDigest>,
}

impl Digests {
    /// Goes on in `path` after what earlier attempts wrote there; `step` steps are taken.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        let Read { mut digests, good_bytes } = read_lines(path)?;
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(TrainError::file("open", path))?;
        // A process that was killed may have left half a line.
        file.set_len(good_bytes).map_err(TrainError::file("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(TrainError::file("write", path))?;
        Ok(Self { file: Some((file, path.to_owned())), earlier: digests.split_off(&(step + 1)) })
    }

    /// Writes a step down. Where an earlier attempt took it too and it came out differently, says in what, once.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn record(&mut self, digest: &StepDigest) -> Result<Option<StepDifference>, TrainError> {
        let Some((file, path)) = &mut self.file else { return Ok(None) };
        let mut line = serde_json::to_vec(digest).expect("a digest is plain data");
        line.push(b'\n');
        file.write_all(&line).map_err(TrainError::file("write", path))?;
        let earlier = self.earlier.remove(&digest.step);
        let difference = earlier.and_then(|earlier| earlier.difference(digest));
        if difference.is_some() {
            // All later ones follow from it.
            self.earlier.clear();
        }
        Ok(difference)
    }

    /// Makes what was written last, before a checkpoint says that these steps need not be taken again.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn sync(&self) -> Result<(), TrainError> {
        match &self.file {
            Some((file, path)) => file.sync_data().map_err(TrainError::file("sync", path)),
            None => Ok(()),
        }
    }
}

/// The digests in a file, by step; of several of one step the last. None, where there is no such file.
///
/// # Errors
/// [`TrainError::File`] if it can't be read.
pub fn read(path: &Path) -> Result<BTreeMap<u64, StepDigest>, TrainError> {
    Ok(read_lines(path)?.digests)
}

struct Read {
    digests: BTreeMap<u64, StepDigest>,
    /// Where the last whole line ends.
    good_bytes: u64,
}

fn read_lines(path: &Path) -> Result<Read, TrainError> {
    let mut read = Read { digests: BTreeMap::new(), good_bytes: 0 };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(read),
        Err(error) => return Err(TrainError::file("open", path)(error)),
    };
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    loop {
        line.clear();
        let n_bytes = reader.read_until(b'\n', &mut line).map_err(TrainError::file("read", path))?;
        if !line.ends_with(b"\n") {
            return Ok(read);
        }
        read.good_bytes += n_bytes as u64;
        // A damaged line costs its step alone.
        if let Ok(digest) = serde_json::from_slice::<StepDigest>(&line) {
            read.digests.insert(digest.step, digest);
        }
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
