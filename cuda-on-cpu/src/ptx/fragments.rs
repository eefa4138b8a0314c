//! `wmma`: a warp's matrices in registers.
//!
//! Which register holds which element is the GPU's own affair, so it is settled here: the elements of a matrix in row order,
//! as many to each lane, again from the first where a lane has registers left.

use super::expression::{Kind, Names, Type, types};
use super::instruction::assign;
use super::memory::space;
use super::parse::{Instruction, Operand};

/// Rows of a, columns of b, length of the sums.
const SHAPES: [(&str, [u32; 3]); 4] = [
    ("m16n16k16", [16, 16, 16]),
    ("m8n32k16", [8, 32, 16]),
    ("m32n8k16", [32, 8, 16]),
    ("m16n16k8", [16, 16, 8]),
];

/// The C of such an instruction.
pub fn translate(each: &Instruction, names: &Names) -> Result<String, String> {
    let (shape, [m, n, k]) = SHAPES
        .iter()
        .enumerate()
        .find(|(_, (name, _))| each.has(name))
        .map(|(index, (_, sizes))| (index, *sizes))
        .ok_or("a shape that is not known")?;
    match each.parts.first().map(String::as_str) {
        Some("load") => {
            let (rows, columns) = match each.parts.get(1).map(String::as_str) {
                Some("a") => (m, k),
                Some("b") => (k, n),
                _ => (m, n),
            };
            load(each, names, rows, columns)
        }
        Some("store") => store(each, names, m, n),
        Some("mma") => multiply(each, names, shape),
        _ => Err("not known here".to_owned()),
    }
}

/// The C expression of where element `at` (an expression) of a lane lies, in elements.
fn position(each: &Instruction, columns: u32, stride: &str, at: &str) -> String {
    let (row, column) = (format!("({at}) / {columns}"), format!("({at}) % {columns}"));
    match each.has("col") {
        true => format!("({column}) * {stride} + {row}"),
        false => format!("({row}) * {stride} + {column}"),
    }
}

fn parts(each: &Instruction, list: usize) -> Result<&[Operand], String> {
    match each.operands.get(list) {
        Some(Operand::Vector(list)) => Ok(list),
        _ => Err("no registers".to_owned()),
    }
}

fn load(each: &Instruction, names: &Names, rows: u32, columns: u32) -> Result<String, String> {
    let type_ = *types(each).last().ok_or("no type")?;
    let (into, place) = (parts(each, 0)?, names.place(&each.operands[1], space(each))?);
    let stride = each.operands.get(2).map_or_else(|| Ok(columns.to_string()), |stride| names.bits(stride))?;
    let (per_lane, width) = (rows * columns / 32, if type_.bits == 16 { 2 } else { 1 });
    let mut code = format!("{{ uint{0}_t *at = (uint{0}_t *){place};", type_.bits);
    for index in 0..into.len() {
        let values = (0..width).map(|part| {
            let element = (index as u32 * width + part) % per_lane;
            let at = position(each, columns, &stride, &format!("t->lane * {per_lane} + {element}"));
            format!("(uint32_t)at[{at}] << {}", 16 * part)
        });
        code += &format!(" uint32_t m{index} = {};", values.collect::<Vec<_>>().join(" | "));
    }
    for (index, register) in into.iter().enumerate() {
        code += &format!(" {}", assign(names, register, &format!("m{index}"))?);
    }
    Ok(code + " }")
}

fn store(each: &Instruction, names: &Names, rows: u32, columns: u32) -> Result<String, String> {
    let type_ = *types(each).last().ok_or("no type")?;
    let (from, place) = (parts(each, 1)?, names.place(&each.operands[0], space(each))?);
    let stride = each.operands.get(2).map_or_else(|| Ok(columns.to_string()), |stride| names.bits(stride))?;
    let (per_lane, width) = (rows * columns / 32, if type_.bits == 16 { 2 } else { 1 });
    let mut code = format!("{{ uint{0}_t *at = (uint{0}_t *){place};", type_.bits);
    for (index, register) in from.iter().enumerate() {
        for part in 0..width {
            let at = position(
                each,
                columns,
                &stride,
                &format!("t->lane * {per_lane} + {}", index as u32 * width + part),
            );
            code += &format!(" at[{at}] = {} >> {};", names.bits(register)?, 16 * part);
        }
    }
    Ok(code + " }")
}

fn multiply(each: &Instruction, names: &Names, shape: usize) -> Result<String, String> {
    let all: Vec<Type> = types(each);
    let of = |kind: Kind, bits: u32| all.iter().any(|type_| type_.kind == kind && type_.bits == bits);
    let element = if of(Kind::Bfloat, 16) {
        0
    } else if of(Kind::Tf32, 32) {
        2
    } else {
        1
    };
    let is_half = |type_: Option<&Type>| {
        u32::from(type_.is_some_and(|type_| type_.kind == Kind::Float && type_.bits == 16))
    };
    let mut code = "{ struct mma m;".to_owned();
    for (letter, index) in [("a", 1), ("b", 2), ("c", 3)] {
        for (at, operand) in parts(each, index)?.iter().enumerate() {
            code += &format!(" m.{letter}[{at}] = {};", names.bits(operand)?);
        }
    }
    let sums = is_half(all.first()) | is_half(all.last()) << 1;
    code += &format!(" t->call->wmma(t, {shape}, {element}, {sums}, &m);");
    for (at, operand) in parts(each, 0)?.iter().enumerate() {
        code += &format!(" {}", assign(names, operand, &format!("m.d[{at}]"))?);
    }
    Ok(code + " }")
}
