//! Moves and conversions.

use super::expression::{Kind, Names, Type, float_bits, types};
use super::instruction::assign;
use super::parse::{Instruction, Operand};

/// The C of such an instruction; `None`: it is none.
pub fn translate(each: &Instruction, names: &Names) -> Option<Result<String, String>> {
    match each.name.as_str() {
        "mov" => Some(move_(each, names)),
        "cvt" => Some(convert(each, names)),
        "cvta" => Some(change_space(each, names)),
        _ => None,
    }
}

fn move_(each: &Instruction, names: &Names) -> Result<String, String> {
    let type_ = *types(each).last().ok_or("no type")?;
    match each.operands.as_slice() {
        [Operand::Vector(into), from] => {
            let width = type_.bits / into.len() as u32;
            let from = names.bits(from)?;
            let mut code = format!("{{ uint{}_t whole = {from};", type_.bits);
            for (index, each) in into.iter().enumerate() {
                let part = format!("(uint{width}_t)(whole >> {})", index as u32 * width);
                code += &format!(" {}", assign(names, each, &part)?);
            }
            Ok(code + " }")
        }
        [into, Operand::Vector(from)] => {
            let width = type_.bits / from.len() as u32;
            let mut whole = Vec::new();
            for (index, each) in from.iter().enumerate() {
                let part = names.bits(each)?;
                whole.push(format!(
                    "(uint{}_t)(uint{width}_t){part} << {}",
                    type_.bits,
                    index as u32 * width
                ));
            }
            assign(names, into, &whole.join(" | "))
        }
        [into, from] => assign(names, into, &names.bits(from)?),
        _ => Err("operands".to_owned()),
    }
}

/// Addresses are the computer's, but of shared memory and of it alone offsets.
fn change_space(each: &Instruction, names: &Names) -> Result<String, String> {
    let [into, from] = each.operands.as_slice() else { return Err("operands".to_owned()) };
    let address = names.bits(from)?;
    let address = match (each.has("to"), each.parts.iter().any(|part| part.starts_with("shared"))) {
        (_, false) => address,
        (true, true) => format!("(uint64_t)({address}) - (uint64_t)t->shared"),
        (false, true) => format!("(uint64_t)({address}) + (uint64_t)t->shared"),
    };
    assign(names, into, &address)
}

fn convert(each: &Instruction, names: &Names) -> Result<String, String> {
    let [into_type, from_type] = types(each)[..] else { return Err("types".to_owned()) };
    let [into, from @ ..] = each.operands.as_slice() else { return Err("operands".to_owned()) };
    if into_type.packed {
        let [high, low] = from else { return Err("operands".to_owned()) };
        let single = Type { packed: false, ..into_type };
        let (high, low) = (names.float(high, from_type)?, names.float(low, from_type)?);
        let (high, low) = (narrow(each, &high, single)?, narrow(each, &low, single)?);
        return assign(names, into, &format!("(uint32_t){low} | (uint32_t){high} << 16"));
    }
    let [from] = from else { return Err("operands".to_owned()) };
    let value = match (from_type.is_float(), into_type.is_float()) {
        (false, false) => {
            let integer = names.integer(from, from_type)?;
            if each.has("sat") {
                return Err("integers that are limited".to_owned());
            }
            format!("({}){integer}", into_type.integer())
        }
        (false, true) => {
            let integer = names.integer(from, from_type)?;
            match (into_type.kind, into_type.bits, rounding(each)) {
                (Kind::Float, 64, _) => format!("UD((double){integer})"),
                (Kind::Float, 32, "rn") => format!("U((float){integer})"),
                (Kind::Float, 32, "rm") => format!("U(down((long double){integer}))"),
                (Kind::Float, 32, "rp") => format!("U(up((long double){integer}))"),
                (Kind::Float, 32, "rz") => format!("U(toward_zero((long double){integer}))"),
                _ => float_bits(&format!("(float){integer}"), into_type),
            }
        }
        (true, false) => {
            let value = names.float(from, from_type)?;
            let whole = match rounding(each) {
                "rni" => format!("__builtin_rint({value})"),
                "rmi" | "rm" => format!("__builtin_floor({value})"),
                "rpi" | "rp" => format!("__builtin_ceil({value})"),
                _ => format!("__builtin_trunc({value})"),
            };
            let n = into_type.bits;
            match into_type.kind {
                Kind::Signed => {
                    let high = format!("{:e}", 2f64.powi(n as i32 - 1) - if n < 64 { 1.0 } else { 0.0 });
                    let low = format!("{:e}", -(2f64.powi(n as i32 - 1)));
                    format!("(int{n}_t)to_int({whole}, {low}, {high})")
                }
                _ => {
                    let high = format!("{:e}", 2f64.powi(n as i32) - if n < 64 { 1.0 } else { 0.0 });
                    format!("(uint{n}_t)to_unsigned({whole}, {high})")
                }
            }
        }
        (true, true) => {
            let value = names.float(from, from_type)?;
            let value = match rounding(each) {
                "rni" => format!("(float)__builtin_rint({value})"),
                "rmi" => format!("(float)__builtin_floor({value})"),
                "rpi" => format!("(float)__builtin_ceil({value})"),
                "rzi" => format!("(float)__builtin_trunc({value})"),
                _ => value,
            };
            narrow(each, &value, into_type)?
        }
    };
    assign(names, into, &value)
}

/// A float as the bits of a type.
fn narrow(each: &Instruction, value: &str, into: Type) -> Result<String, String> {
    let value = if each.has("relu") { format!("fmax_nan({value}, 0)") } else { value.to_owned() };
    let value = if each.has("sat") { format!("saturate({value})") } else { value };
    Ok(match (into.kind, into.bits, rounding(each)) {
        (Kind::Tf32, ..) => format!("tf32({value})"),
        (Kind::Bfloat, _, "rz") => format!("UB_rz({value})"),
        (Kind::Float, 16, "rz") => format!("UH_rz({value})"),
        (_, _, rounding @ ("rm" | "rp")) => return Err(format!("rounding {rounding}")),
        _ => float_bits(&value, into),
    })
}

fn rounding(each: &Instruction) -> &'static str {
    let all = ["rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "rna"];
    all.into_iter().find(|name| each.has(name)).unwrap_or("rn")
}
