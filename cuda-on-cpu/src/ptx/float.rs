//! Arithmetic of floats. Approximate functions are exact here; results that are flushed to zero on a GPU are not.

use super::expression::{Kind, Names, Type, float_bits, types};
use super::instruction::assign;
use super::parse::{Instruction, Operand};

/// The C of such an instruction; `None`: it is none.
pub fn translate(each: &Instruction, names: &Names) -> Option<Result<String, String>> {
    let type_ = *types(each).last()?;
    let known = [
        "add", "sub", "mul", "fma", "mad", "div", "sqrt", "rsqrt", "rcp", "ex2", "lg2", "sin", "cos", "tanh",
        "neg", "abs", "min", "max", "copysign",
    ];
    (type_.is_float() && known.contains(&each.name.as_str())).then(|| arithmetic(each, names, type_))
}

fn arithmetic(each: &Instruction, names: &Names, type_: Type) -> Result<String, String> {
    let [into, operands @ ..] = each.operands.as_slice() else { return Err("no operands".to_owned()) };
    if !type_.packed {
        let values =
            operands.iter().map(|operand| names.float(operand, type_)).collect::<Result<Vec<_>, _>>()?;
        return assign(names, into, &float_bits(&function(each, type_, &values)?, type_));
    }
    // Two numbers in each register.
    let single = Type { packed: false, ..type_ };
    let read = if type_.kind == Kind::Bfloat { "B" } else { "H" };
    let half = |shift: u32| {
        let values = operands.iter().map(|operand: &Operand| {
            names.bits(operand).map(|bits| format!("{read}((uint16_t)({bits} >> {shift}))"))
        });
        let values = values.collect::<Result<Vec<_>, _>>()?;
        Ok::<_, String>(float_bits(&function(each, single, &values)?, single))
    };
    assign(names, into, &format!("(uint32_t){} | (uint32_t){} << 16", half(0)?, half(16)?))
}

/// The C of a function of floats, as a float (as a double of f64).
fn function(each: &Instruction, type_: Type, values: &[String]) -> Result<String, String> {
    let is_double = type_ == (Type { kind: Kind::Float, bits: 64, packed: false });
    let suffix = if is_double { "" } else { "f" };
    let value = |index: usize| values.get(index).ok_or_else(|| "an operand is missing".to_owned());
    let call = |name: &str| Ok::<_, String>(format!("__builtin_{name}{suffix}({})", value(0)?));
    let rounding = ["rm", "rp", "rz"].into_iter().find(|part| each.has(part));
    let exact = match each.name.as_str() {
        "add" => format!("{} + {}", value(0)?, value(1)?),
        "sub" => format!("{} - {}", value(0)?, value(1)?),
        "mul" => format!("{} * {}", value(0)?, value(1)?),
        "fma" | "mad" if rounding.is_some() => format!("{} * {} + {}", value(0)?, value(1)?, value(2)?),
        "fma" | "mad" => format!("__builtin_fma{suffix}({}, {}, {})", value(0)?, value(1)?, value(2)?),
        "div" => format!("{} / {}", value(0)?, value(1)?),
        "rcp" => format!("1 / {}", value(0)?),
        "sqrt" => call("sqrt")?,
        "rsqrt" => format!("1 / {}", call("sqrt")?),
        "ex2" => call("exp2")?,
        "lg2" => call("log2")?,
        "sin" | "cos" | "tanh" => call(&each.name)?,
        "neg" => format!("-{}", value(0)?),
        "abs" => call("fabs")?,
        "copysign" => format!("__builtin_copysign{suffix}({}, {})", value(1)?, value(0)?),
        "min" | "max" => {
            let nan = if each.has("NaN") { "_nan" } else { "_" };
            format!("f{}{nan}({}, {})", each.name, value(0)?, value(1)?)
        }
        other => return Err(format!("{other} is not known here")),
    };
    let exact = match rounding {
        Some(rounding) if is_double => return Err(format!("f64 with {rounding}")),
        Some(rounding) => {
            let wide: Vec<String> = values.iter().map(|value| format!("(long double){value}")).collect();
            let exact = match each.name.as_str() {
                "add" => format!("{} + {}", wide[0], wide[1]),
                "sub" => format!("{} - {}", wide[0], wide[1]),
                "mul" => format!("{} * {}", wide[0], wide[1]),
                "fma" => format!("{} * {} + {}", wide[0], wide[1], wide[2]),
                other => return Err(format!("{other} with {rounding}")),
            };
            let name = match rounding {
                "rm" => "down",
                "rp" => "up",
                _ => "toward_zero",
            };
            format!("{name}({exact})")
        }
        None => format!("({exact})"),
    };
    let exact = if each.has("relu") { format!("fmax_nan({exact}, 0)") } else { exact };
    Ok(if each.has("sat") { format!("saturate({exact})") } else { exact })
}
