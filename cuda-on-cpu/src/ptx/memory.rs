//! Loads, stores, atomics, and copies that a thread starts and waits for.

use super::expression::{Kind, Names, Type, float_bits, types};
use super::instruction::assign;
use super::parse::{Instruction, Operand};

/// The C of such an instruction; `None`: it is none.
pub fn translate(each: &Instruction, names: &Names) -> Option<Result<String, String>> {
    match each.name.as_str() {
        "ld" | "ldu" => Some(load(each, names)),
        "st" => Some(store(each, names)),
        "atom" | "red" => Some(atomic(each, names)),
        "cp" if each.has("bulk") => None,
        "cp" => Some(copy(each, names)),
        _ => None,
    }
}

/// Where an instruction reads or writes.
pub fn space(each: &Instruction) -> &'static str {
    let is = |name: &str| each.parts.iter().any(|part| part.split("::").next() == Some(name));
    if is("shared") {
        "shared"
    } else if is("param") {
        "param"
    } else {
        "global"
    }
}

fn load(each: &Instruction, names: &Names) -> Result<String, String> {
    let type_ = *types(each).last().ok_or("no type")?;
    let [into, from] = each.operands.as_slice() else { return Err("operands".to_owned()) };
    let place = names.place(from, space(each))?;
    let read = |index: usize| format!("(({} *)at)[{index}]", type_.integer());
    let into = match into {
        Operand::Vector(into) => into.iter().collect(),
        single => vec![single],
    };
    // All of a vector is read before a register is written that its address may be in.
    let mut code = format!("{{ {0} *at = ({0} *){place}; {0} read[{1}];", type_.integer(), into.len());
    for index in 0..into.len() {
        code += &format!(" read[{index}] = {};", read(index));
    }
    for (index, each) in into.iter().enumerate() {
        code += &format!(" {}", assign(names, each, &format!("read[{index}]"))?);
    }
    Ok(code + " }")
}

fn store(each: &Instruction, names: &Names) -> Result<String, String> {
    let type_ = *types(each).last().ok_or("no type")?;
    let [into, from] = each.operands.as_slice() else { return Err("operands".to_owned()) };
    let place = names.place(into, space(each))?;
    let from = match from {
        Operand::Vector(from) => from.iter().collect(),
        single => vec![single],
    };
    let mut code = format!("{{ {0} *at = ({0} *){place};", type_.integer());
    for (index, each) in from.iter().enumerate() {
        code += &format!(" at[{index}] = ({}){};", type_.integer(), names.bits(each)?);
    }
    Ok(code + " }")
}

fn atomic(each: &Instruction, names: &Names) -> Result<String, String> {
    let type_ = *types(each).last().ok_or("no type")?;
    let (into, place, values) = match (each.name.as_str(), each.operands.as_slice()) {
        ("atom", [into, place, values @ ..]) => (Some(into), place, values),
        (_, [place, values @ ..]) => (None, place, values),
        _ => return Err("operands".to_owned()),
    };
    let place = names.place(place, space(each))?;
    let operations = ["add", "min", "max", "exch", "cas", "and", "or", "xor", "inc", "dec"];
    let operation =
        operations.into_iter().find(|name| each.has(name)).ok_or("an atomic that is not known")?;
    let [value, rest @ ..] = values else { return Err("operands".to_owned()) };
    if matches!(value, Operand::Vector(_)) {
        return Err("an atomic of a vector".to_owned());
    }
    let cell = if type_.packed { "uint32_t".to_owned() } else { format!("uint{}_t", type_.bits) };
    let new = if type_.is_float() {
        let read = |bits: &str, single: Type| match (single.kind, single.bits) {
            (Kind::Float, 64) => format!("D({bits})"),
            (Kind::Float, 16) => format!("H((uint16_t)({bits}))"),
            (Kind::Bfloat, _) => format!("B((uint16_t)({bits}))"),
            _ => format!("F({bits})"),
        };
        let single = Type { packed: false, ..type_ };
        let value = names.bits(value)?;
        let of = |old: String, new: String| {
            let result = match operation {
                "add" => format!("{old} + {new}"),
                "min" | "max" => format!("f{operation}_({old}, {new})"),
                _ => return Err(format!("{operation} of floats")),
            };
            Ok(float_bits(&format!("({result})"), single))
        };
        if type_.packed {
            let low = of(read("old", single), read(&value, single))?;
            let high = of(read("old >> 16", single), read(&format!("({value}) >> 16"), single))?;
            format!("(uint32_t){low} | (uint32_t){high} << 16")
        } else if operation == "exch" {
            value
        } else {
            of(read("old", single), read(&value, single))?
        }
    } else {
        let (old, new) = (format!("(({})old)", type_.integer()), names.integer(value, type_)?);
        match operation {
            "add" => format!("{old} + {new}"),
            "min" => format!("{old} < {new} ? {old} : {new}"),
            "max" => format!("{old} > {new} ? {old} : {new}"),
            "exch" => new,
            "and" => format!("{old} & {new}"),
            "or" => format!("{old} | {new}"),
            "xor" => format!("{old} ^ {new}"),
            "inc" => format!("{old} >= {new} ? 0 : {old} + 1"),
            "dec" => format!("{old} == 0 || {old} > {new} ? {new} : {old} - 1"),
            _ => {
                let [other] = rest else { return Err("operands".to_owned()) };
                format!("{old} == {new} ? {} : {old}", names.integer(other, type_)?)
            }
        }
    };
    let result = into.map_or(Ok(String::new()), |into| assign(names, into, "old"))?;
    Ok(format!(
        "{{ {cell} *at = ({cell} *){place}, old = __atomic_load_n(at, __ATOMIC_SEQ_CST), new_;\n  do {{ new_ = {new}; }} while \
         (!__atomic_compare_exchange_n(at, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)); {result} }}"
    ))
}

/// `cp.async`: what is copied is there no sooner than a thread has waited for it.
fn copy(each: &Instruction, names: &Names) -> Result<String, String> {
    if each.has("commit_group") {
        return Ok("t->call->commit_copies(t);".to_owned());
    }
    if each.has("wait_all") {
        return Ok("t->call->commit_copies(t); t->call->wait_copies(t, 0);".to_owned());
    }
    if each.has("wait_group") {
        let at_most = names.bits(each.operands.first().ok_or("operands")?)?;
        return Ok(format!("t->call->wait_copies(t, {at_most});"));
    }
    let [into, from, n, rest @ ..] = each.operands.as_slice() else { return Err("operands".to_owned()) };
    let n = names.bits(n)?;
    let n_read = match rest {
        [n_read] => names.bits(n_read)?,
        _ => n.clone(),
    };
    Ok(format!(
        "t->call->copy_later(t, {}, (uint64_t){}, {n}, {n_read});",
        names.shared_address(into)?,
        names.place(from, "global")?
    ))
}
