//! Arithmetic of integers and bits, comparisons, choices.

use super::expression::{Kind, Names, Type, types};
use super::instruction::assign;
use super::parse::{Instruction, Operand};

/// The C of such an instruction; `None`: it is none.
pub fn translate(each: &Instruction, names: &Names) -> Option<Result<String, String>> {
    let type_ = *types(each).last()?;
    match each.name.as_str() {
        "setp" => return Some(compare(each, names)),
        "selp" => return Some(choose(each, names)),
        "set" | "slct" => return Some(Err("a choice that is not known here".to_owned())),
        _ => {}
    }
    if type_.is_float() {
        return None;
    }
    let known = [
        "add", "addc", "sub", "mul", "mad", "div", "rem", "abs", "neg", "min", "max", "and", "or", "xor",
        "not", "cnot", "shl", "shr", "shf", "bfi", "bfe", "prmt", "lop3", "popc", "clz",
    ];
    known.contains(&each.name.as_str()).then(|| arithmetic(each, names, type_))
}

fn arithmetic(each: &Instruction, names: &Names, type_: Type) -> Result<String, String> {
    let [into, operands @ ..] = each.operands.as_slice() else { return Err("no operands".to_owned()) };
    if type_.packed || each.has("sat") {
        return Err("packed or saturating integers, which are not known here".to_owned());
    }
    let value = |index: usize| {
        let operand = operands.get(index).ok_or_else(|| "an operand is missing".to_owned())?;
        names.integer(operand, type_)
    };
    let bits =
        |index: usize| names.bits(operands.get(index).ok_or_else(|| "an operand is missing".to_owned())?);
    let unsigned = |text: String| format!("((uint{}_t){text})", type_.bits);
    let wide = match (type_.kind, type_.bits) {
        (Kind::Signed, 64) => "__int128".to_owned(),
        (_, 64) => "unsigned __int128".to_owned(),
        (Kind::Signed, bits) => format!("int{}_t", 2 * bits),
        (_, bits) => format!("uint{}_t", 2 * bits),
    };
    let is_wide = each.has("wide");
    let is_signed = type_.kind == Kind::Signed;
    let result = match each.name.as_str() {
        "add" if each.has("cc") => {
            let (a, b) = (unsigned(value(0)?), unsigned(value(1)?));
            let sum = assign(names, into, &format!("{a} + {b}"))?;
            return Ok(format!(
                "{{ uint{0}_t cc_a = {a}; {sum} carry = {1} < cc_a; }}",
                type_.bits,
                names.bits(into)?
            ));
        }
        "addc" => {
            let (a, b) = (unsigned(value(0)?), unsigned(value(1)?));
            let sum = assign(names, into, "(cc_sum)")?;
            let out =
                if each.has("cc") { format!("carry = cc_sum >> {} & 1;", type_.bits) } else { String::new() };
            return Ok(format!(
                "{{ unsigned __int128 cc_sum = (unsigned __int128){a} + {b} + carry; {sum} {out} }}"
            ));
        }
        "add" => format!("{} + {}", unsigned(value(0)?), unsigned(value(1)?)),
        "sub" if each.has("cc") => return Err("a borrow".to_owned()),
        "sub" => format!("{} - {}", unsigned(value(0)?), unsigned(value(1)?)),
        "mul" | "mad" => {
            let product = format!("({wide}){} * ({wide}){}", value(0)?, value(1)?);
            let product = if each.has("hi") {
                format!("(({product}) >> {})", type_.bits)
            } else {
                format!("({product})")
            };
            match each.name.as_str() {
                "mul" => product,
                _ => format!("{product} + {}", if is_wide { bits(2)? } else { unsigned(value(2)?) }),
            }
        }
        "div" => format!("{1} == 0 ? -1 : {0} / {1}", value(0)?, value(1)?),
        "rem" => format!("{1} == 0 ? {0} : {0} % {1}", value(0)?, value(1)?),
        "abs" => format!("{0} < 0 ? -{0} : {0}", value(0)?),
        "neg" => format!("0 - {}", unsigned(value(0)?)),
        "min" => format!("{0} < {1} ? {0} : {1}", value(0)?, value(1)?),
        "max" => format!("{0} > {1} ? {0} : {1}", value(0)?, value(1)?),
        "and" => format!("{} & {}", value(0)?, value(1)?),
        "or" => format!("{} | {}", value(0)?, value(1)?),
        "xor" => format!("{} ^ {}", value(0)?, value(1)?),
        "not" if type_.kind == Kind::Predicate => format!("!{}", value(0)?),
        "not" => format!("~{}", value(0)?),
        "cnot" => format!("{} == 0", value(0)?),
        "shl" if type_.bits == 64 => format!("shl64({}, {})", value(0)?, bits(1)?),
        "shl" => format!("shl32({}, {})", value(0)?, bits(1)?),
        "shr" => {
            let name = if is_signed { "sar" } else { "shr" };
            format!("{name}{}({}, {})", type_.bits.max(32), value(0)?, bits(1)?)
        }
        "shf" => {
            let by = if each.has("clamp") {
                format!("({0} > 32 ? 32 : {0})", bits(2)?)
            } else {
                format!("({} & 31)", bits(2)?)
            };
            let name = if each.has("l") { "funnel_left" } else { "funnel_right" };
            format!("{name}({}, {}, {by})", bits(0)?, bits(1)?)
        }
        "bfi" => format!("bfi({}, {}, {}, {}, {})", bits(0)?, bits(1)?, bits(2)?, bits(3)?, type_.bits),
        "bfe" => format!(
            "bfe(({}){}, {}, {}, {}, {})",
            format_args!("uint{}_t", type_.bits),
            bits(0)?,
            bits(1)?,
            bits(2)?,
            type_.bits,
            i32::from(is_signed)
        ),
        "prmt" => format!("prmt({}, {}, {})", bits(0)?, bits(1)?, bits(2)?),
        "lop3" => format!("lop3({}, {}, {}, {})", bits(0)?, bits(1)?, bits(2)?, bits(3)?),
        "popc" => format!("__builtin_popcountll({})", value(0)?),
        "clz" => format!("{0} == 0 ? {1} : __builtin_clzll({0}) - (64 - {1})", value(0)?, type_.bits),
        other => return Err(format!("{other} is not known here")),
    };
    assign(names, into, &result)
}

fn compare(each: &Instruction, names: &Names) -> Result<String, String> {
    let type_ = *types(each).last().ok_or("no type")?;
    let how = each.parts.first().map(String::as_str).unwrap_or_default();
    let [into, first, second, rest @ ..] = each.operands.as_slice() else {
        return Err("operands".to_owned());
    };
    let of = |operand: &Operand| {
        if type_.is_float() { names.float(operand, type_) } else { names.integer(operand, type_) }
    };
    let (a, b) = (of(first)?, of(second)?);
    let either_nan = format!("({a} != {a} || {b} != {b})");
    let operator = |name: &str| match name {
        "eq" => Some("=="),
        "ne" => Some("!="),
        "lt" | "lo" => Some("<"),
        "le" | "ls" => Some("<="),
        "gt" | "hi" => Some(">"),
        "ge" | "hs" => Some(">="),
        _ => None,
    };
    let mut result = match how {
        "num" => format!("!{either_nan}"),
        "nan" => either_nan,
        "ne" if type_.is_float() => format!("(!{either_nan} && {a} != {b})"),
        _ => match operator(how) {
            Some(operator) => format!("({a} {operator} {b})"),
            None => {
                let ordered =
                    how.strip_suffix('u').and_then(operator).ok_or("a comparison that is not known")?;
                format!("({either_nan} || {a} {ordered} {b})")
            }
        },
    };
    if let [third] = rest {
        let operator =
            [("and", "&&"), ("or", "||"), ("xor", "!=")].into_iter().find(|(name, _)| each.has(name));
        let (_, operator) = operator.ok_or("a third operand without an operator")?;
        result = format!("({result} {operator} {})", names.bits(third)?);
    }
    match into {
        Operand::Pair(yes, no) => {
            Ok(format!("{} {}", assign(names, yes, &result)?, assign(names, no, &format!("!{result}"))?))
        }
        _ => assign(names, into, &result),
    }
}

fn choose(each: &Instruction, names: &Names) -> Result<String, String> {
    let [into, yes, no, predicate] = each.operands.as_slice() else { return Err("operands".to_owned()) };
    let (yes, no) = (names.bits(yes)?, names.bits(no)?);
    assign(names, into, &format!("{} ? {yes} : {no}", names.bits(predicate)?))
}
