//! `optimizer.safetensors`: what the optimizer remembers, exactly, so that a resumed run is the same run.
//!
//! ```text
//! 000003.exp_avg, 000003.exp_avg_sq                  F32     moments of the weight in slot 3
//! 000004.exp_avg, 000004.exp_avg_sq                  U8      those in 8 bits: codes,
//! 000004.exp_avg.absmax, 000004.exp_avg_sq.absmax    F32     and a scale for each 256 of them
//! ```

use std::borrow::Cow;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use ftl_core::{Problem, ProblemKind};

use crate::checkpoint::layout::OPTIMIZER_SAFETENSORS;
use crate::error::TrainError;
use crate::model::tensor_file::{NumberType, Numbers, TensorFile, TensorSpec, write_tensors};
use crate::optim::adamw::Moments;
use crate::optim::adamw8bit::{BlockMoments, Blocks, bytes};
use crate::optim::moments::WeightMoments;
use crate::train::optimizer::Optimizer;

/// One tensor of the file and the part of the moments that it holds.
struct Part<'a> {
    spec: TensorSpec,
    values: Values<'a>,
}

#[derive(Clone, Copy)]
enum Values<'a> {
    Moment(&'a Tensor<2>),
    Codes(&'a Blocks),
    Scales(&'a Blocks),
}

impl Values<'_> {
    fn number_type(self) -> NumberType {
        match self {
            Self::Moment(_) | Self::Scales(_) => NumberType::F32,
            Self::Codes(_) => NumberType::U8,
        }
    }

    fn numbers(self) -> Numbers<'static> {
        let floats = |data: TensorData| {
            Numbers::F32(Cow::Owned(data.try_into_vec().expect("the engine computes in f32")))
        };
        match self {
            Self::Moment(moment) => floats(moment.to_data()),
            Self::Scales(blocks) => floats(blocks.absmax.to_data()),
            Self::Codes(blocks) => {
                Numbers::U8(Cow::Owned(blocks.codes.to_data().try_into_vec().expect("codes are bytes")))
            }
        }
    }
}

/// Writes the optimizer's moments.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn write_optimizer(dir: &Path, optimizer: &Optimizer) -> Result<(), TrainError> {
    let parts = parts(optimizer);
    let mut values = parts.iter().map(|part| part.values);
    write_tensors(&dir.join(OPTIMIZER_SAFETENSORS), &specs(&parts), |_| {
        Ok(values.next().expect("a part for each spec").numbers())
    })
}

/// Reads the optimizer's moments into `optimizer`, which has the shapes.
///
/// # Errors
/// `BrokenCheckpoint` where the file does not fit.
pub fn read_optimizer(dir: &Path, device: &Device, optimizer: &mut Optimizer) -> Result<(), Vec<Problem>> {
    let file = TensorFile::open(&dir.join(OPTIMIZER_SAFETENSORS), ProblemKind::BrokenCheckpoint)
        .map_err(|problem| vec![problem])?;
    file.expect_types(&specs(&parts(optimizer)))?;
    let blocks = |name: String| Blocks {
        codes: bytes(file.bytes(&name).expect("the file was checked").to_vec(), device),
        absmax: {
            let scales = file.read_f32(&format!("{name}.absmax"));
            let n = scales.len();
            Tensor::from_data(TensorData::new(scales, [n]), device)
        },
    };
    for (slot, moments) in optimizer.moments.iter_mut().enumerate() {
        let [first, second] = names(slot);
        *moments = match moments {
            WeightMoments::F32(moments) => {
                let shape = moments.first.dims();
                let read = |name| Tensor::from_data(TensorData::new(file.read_f32(name), shape), device);
                WeightMoments::F32(Moments { first: read(&first), second: read(&second) })
            }
            WeightMoments::Blockwise8Bit(_) => {
                WeightMoments::Blockwise8Bit(BlockMoments { first: blocks(first), second: blocks(second) })
            }
        };
    }
    Ok(())
}

fn names(slot: usize) -> [String; 2] {
    ["exp_avg", "exp_avg_sq"].map(|moment| format!("{slot:06}.{moment}"))
}

fn specs(parts: &[Part<'_>]) -> Vec<(TensorSpec, NumberType)> {
    parts.iter().map(|Part { spec, values }| (spec.clone(), values.number_type())).collect()
}

fn parts(optimizer: &Optimizer) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (slot, moments) in optimizer.moments.iter().enumerate() {
        let names = names(slot);
        match moments {
            WeightMoments::F32(Moments { first, second }) => {
                for (name, moment) in names.into_iter().zip([first, second]) {
                    let spec = TensorSpec { name, shape: moment.dims().to_vec() };
                    parts.push(Part { spec, values: Values::Moment(moment) });
                }
            }
            WeightMoments::Blockwise8Bit(BlockMoments { first, second }) => {
                for (name, blocks) in names.into_iter().zip([first, second]) {
                    let scales =
                        TensorSpec { name: format!("{name}.absmax"), shape: blocks.absmax.dims().to_vec() };
                    let codes = TensorSpec { name, shape: blocks.codes.dims().to_vec() };
                    parts.push(Part { spec: codes, values: Values::Codes(blocks) });
                    parts.push(Part { spec: scales, values: Values::Scales(blocks) });
                }
            }
        }
    }
    parts
}
