//! What threads do together: barriers, exchanges in a warp, products on tensor cores, copies by the tensor memory accelerator.

use super::expression::Names;
use super::fragments;
use super::instruction::assign;
use super::parse::{Instruction, Operand};

/// The C of such an instruction; `None`: it is none.
pub fn translate(each: &Instruction, names: &Names) -> Option<Result<String, String>> {
    Some(match each.name.as_str() {
        "bar" | "barrier" if each.has("warp") => {
            operand(each, names, 0).map(|mask| format!("t->call->warp_barrier(t, {mask});"))
        }
        "bar" | "barrier" if each.has("sync") => barrier(each, names),
        "activemask" => one(each, names, "t->call->active(t)"),
        "shfl" => shuffle(each, names),
        "vote" => vote(each, names),
        "redux" => reduce(each, names),
        "elect" => elect(each, names),
        "ldmatrix" => load_matrix(each, names),
        "stmatrix" => store_matrix(each, names),
        "mma" => product(each, names),
        "wmma" => fragments::translate(each, names),
        // A product is done when it is asked for.
        "wgmma" if !each.has("mma_async") => Ok(String::new()),
        "wgmma" => group_product(each, names),
        "mbarrier" => memory_barrier(each, names),
        "cp" => copy_tensor(each, names),
        _ => return None,
    })
}

fn operand(each: &Instruction, names: &Names, index: usize) -> Result<String, String> {
    names.bits(each.operands.get(index).ok_or("an operand is missing")?)
}

fn one(each: &Instruction, names: &Names, value: &str) -> Result<String, String> {
    assign(names, each.operands.first().ok_or("an operand is missing")?, value)
}

fn vector(each: &Instruction, index: usize) -> Result<&[Operand], String> {
    match each.operands.get(index) {
        Some(Operand::Vector(list)) => Ok(list),
        Some(single) => Ok(std::slice::from_ref(single)),
        None => Err("an operand is missing".to_owned()),
    }
}

fn barrier(each: &Instruction, names: &Names) -> Result<String, String> {
    let n = if each.operands.len() > 1 { operand(each, names, 1)? } else { "0".to_owned() };
    Ok(format!("t->call->barrier(t, {}, {n});", operand(each, names, 0)?))
}

fn shuffle(each: &Instruction, names: &Names) -> Result<String, String> {
    let kinds = ["bfly", "up", "down", "idx"];
    let kind = kinds.iter().position(|kind| each.has(kind)).ok_or("a shuffle that is not known")?;
    let (value, by) = (operand(each, names, 1)?, operand(each, names, 2)?);
    let (clamp, mask) = (operand(each, names, 3)?, operand(each, names, 4)?);
    let call = format!("uint64_t got = t->call->shuffle(t, {kind}, {value}, {by}, {clamp}, {mask});");
    let given = match &each.operands[0] {
        Operand::Pair(into, predicate) => {
            format!("{} {}", assign(names, into, "(uint32_t)got")?, assign(names, predicate, "got >> 32")?)
        }
        into => assign(names, into, "(uint32_t)got")?,
    };
    Ok(format!("{{ {call} {given} }}"))
}

fn vote(each: &Instruction, names: &Names) -> Result<String, String> {
    let (negated, predicate) = match &each.operands[1] {
        Operand::Name(name) if name.starts_with('!') => {
            ("!", names.bits(&Operand::Name(name[1..].to_owned()))?)
        }
        other => ("", names.bits(other)?),
    };
    let mask = operand(each, names, 2)?;
    let ballot = format!("t->call->ballot(t, {negated}{predicate}, {mask})");
    let value = if each.has("ballot") {
        ballot
    } else if each.has("any") {
        format!("{ballot} != 0")
    } else if each.has("all") {
        format!("{ballot} == (uint32_t){mask}")
    } else {
        return Err("a vote that is not known".to_owned());
    };
    one(each, names, &value)
}

fn reduce(each: &Instruction, names: &Names) -> Result<String, String> {
    if each.has("f32") {
        return Err("a reduction of floats".to_owned());
    }
    let kinds = ["add", "and", "or", "xor", "min", "max"];
    let kind = kinds.iter().position(|kind| each.has(kind)).ok_or("a reduction that is not known")?;
    let kind = if each.has("s32") { kind + 16 } else { kind };
    let (value, mask) = (operand(each, names, 1)?, operand(each, names, 2)?);
    one(each, names, &format!("t->call->reduce(t, {kind}, {value}, {mask})"))
}

/// The first of the lanes is elected.
fn elect(each: &Instruction, names: &Names) -> Result<String, String> {
    let Some(Operand::Pair(lane, predicate)) = each.operands.first() else {
        return Err("operands".to_owned());
    };
    let first = format!("__builtin_ctz({})", operand(each, names, 1)?);
    let warp = format!("t->call->warp_barrier(t, {});", operand(each, names, 1)?);
    Ok(format!(
        "{warp} {} {}",
        assign(names, lane, &first)?,
        assign(names, predicate, &format!("t->lane == {first}"))?
    ))
}

/// Matrices of 8 x 8 values of 16 bits; others lie otherwise.
fn only_plain_matrices(each: &Instruction) -> Result<(), String> {
    if each.has("m8n8") && each.has("b16") { Ok(()) } else { Err("a shape that is not known".to_owned()) }
}

fn load_matrix(each: &Instruction, names: &Names) -> Result<String, String> {
    only_plain_matrices(each)?;
    let into = vector(each, 0)?;
    let address = names.shared_address(each.operands.get(1).ok_or("operands")?)?;
    let transposed = u32::from(each.has("trans"));
    let mut code =
        format!("{{ uint32_t m[4]; t->call->ldmatrix(t, {address}, {}, {transposed}, m);", into.len());
    for (index, each) in into.iter().enumerate() {
        code += &format!(" {}", assign(names, each, &format!("m[{index}]"))?);
    }
    Ok(code + " }")
}

fn store_matrix(each: &Instruction, names: &Names) -> Result<String, String> {
    only_plain_matrices(each)?;
    let from = vector(each, 1)?;
    let values = from.iter().map(|each| names.bits(each)).collect::<Result<Vec<_>, _>>()?.join(", ");
    let address = names.shared_address(&each.operands[0])?;
    let transposed = u32::from(each.has("trans"));
    Ok(format!(
        "{{ uint32_t m[] = {{{values}}}; t->call->stmatrix(t, {address}, {}, {transposed}, m); }}",
        from.len()
    ))
}

/// Shapes of `mma` that `run::mma` knows, in its order.
const SHAPES: [&str; 10] = [
    "m16n8k16.row.col.f32.bf16.bf16.f32",
    "m16n8k16.row.col.f32.f16.f16.f32",
    "m16n8k8.row.col.f32.bf16.bf16.f32",
    "m16n8k8.row.col.f32.f16.f16.f32",
    "m16n8k8.row.col.f32.tf32.tf32.f32",
    "m16n8k4.row.col.f32.tf32.tf32.f32",
    "m16n8k16.row.col.f16.f16.f16.f16",
    "m16n8k8.row.col.f16.f16.f16.f16",
    "m16n8k32.row.col.s32.s8.s8.s32",
    "m16n8k16.row.col.s32.s8.s8.s32",
];

fn product(each: &Instruction, names: &Names) -> Result<String, String> {
    let named = each
        .parts
        .iter()
        .filter(|part| *part != "sync" && *part != "aligned")
        .cloned()
        .collect::<Vec<_>>()
        .join(".");
    let shape =
        SHAPES.iter().position(|shape| *shape == named).ok_or_else(|| format!("the shape {named}"))?;
    let mut code = "{ struct mma m;".to_owned();
    for (letter, index) in [("a", 1), ("b", 2), ("c", 3)] {
        for (at, operand) in vector(each, index)?.iter().enumerate() {
            code += &format!(" m.{letter}[{at}] = {};", names.bits(operand)?);
        }
    }
    code += &format!(" t->call->mma(t, {shape}, &m);");
    for (at, operand) in vector(each, 0)?.iter().enumerate() {
        code += &format!(" {}", assign(names, operand, &format!("m.d[{at}]"))?);
    }
    Ok(code + " }")
}

/// `wgmma.mma_async` with both operands in shared memory.
fn group_product(each: &Instruction, names: &Names) -> Result<String, String> {
    let shape = each.parts.iter().find(|part| part.starts_with("m64n")).ok_or("no shape")?;
    let n = shape.trim_start_matches("m64n").split('k').next().unwrap_or_default();
    let kind = if each.has("bf16") {
        0
    } else if each.has("f16") {
        1
    } else {
        return Err("a type".to_owned());
    };
    if !shape.ends_with("k16") || !each.has("f32") {
        return Err("a shape that is not known".to_owned());
    }
    let sums = vector(each, 0)?;
    let mut code = format!(
        "{{ struct wgmma m = {{{}, {}, {n}, {}, {}, {}, {}, {}, {{0}}}};",
        operand(each, names, 1)?,
        operand(each, names, 2)?,
        operand(each, names, 3)?,
        operand(each, names, 6)?,
        operand(each, names, 7)?,
        operand(each, names, 4)?,
        operand(each, names, 5)?
    );
    for (index, sum) in sums.iter().enumerate() {
        code += &format!(" uint32_t d{index} = {}; m.d[{index}] = &d{index};", names.bits(sum)?);
    }
    code += &format!(" t->call->wgmma(t, {kind}, &m);");
    for (index, sum) in sums.iter().enumerate() {
        code += &format!(" {}", assign(names, sum, &format!("d{index}"))?);
    }
    Ok(code + " }")
}

fn memory_barrier(each: &Instruction, names: &Names) -> Result<String, String> {
    let what = each.parts.first().map(String::as_str).unwrap_or_default();
    let address = |index: usize| match each.operands.get(index) {
        Some(operand) if each.parts.iter().any(|part| part.starts_with("shared")) => {
            names.shared_address(operand)
        }
        Some(operand) => Ok(format!("(uint32_t)({} - t->shared)", names.place(operand, "global")?)),
        None => Err("an operand is missing".to_owned()),
    };
    match what {
        "init" => Ok(format!("t->call->mbarrier_init(t, {}, {});", address(0)?, operand(each, names, 1)?)),
        "inval" => Ok(String::new()),
        "arrive" => {
            let (count, bytes) = match (each.has("expect_tx"), each.operands.len()) {
                (true, 3) => ("1".to_owned(), operand(each, names, 2)?),
                (false, 3) => (operand(each, names, 2)?, "0".to_owned()),
                (false, 2) => ("1".to_owned(), "0".to_owned()),
                _ => return Err("operands".to_owned()),
            };
            one(each, names, &format!("t->call->mbarrier_arrive(t, {}, {count}, {bytes})", address(1)?))
        }
        "try_wait" | "test_wait" => {
            let blocking = u32::from(what == "try_wait");
            let parity = if each.has("parity") {
                operand(each, names, 2)?
            } else {
                format!("({} >> 63)", operand(each, names, 2)?)
            };
            one(each, names, &format!("t->call->mbarrier_wait(t, {}, {parity}, {blocking})", address(1)?))
        }
        other => Err(format!("mbarrier.{other} is not known here")),
    }
}

/// `cp.async.bulk.tensor` from global to shared memory, a tile.
fn copy_tensor(each: &Instruction, names: &Names) -> Result<String, String> {
    if !each.has("tensor")
        || !each.has("tile")
        || each.parts.iter().position(|part| part == "global")
            < each.parts.iter().position(|part| part.starts_with("shared"))
    {
        return Err("a copy that is not known here".to_owned());
    }
    let [into, from, barrier] = each.operands.as_slice() else { return Err("operands".to_owned()) };
    let Operand::Address { base, at, .. } = from else { return Err("operands".to_owned()) };
    let map = names.bits(&Operand::Name(base.clone()))?;
    let at = at.iter().map(|each| names.bits(each)).collect::<Result<Vec<_>, _>>()?;
    Ok(format!(
        "{{ struct tensor_copy copy = {{{map}, {}, {}, {{{}}}}}; t->call->copy_tensor(t, {}, &copy); }}",
        names.shared_address(into)?,
        names.shared_address(barrier)?,
        at.join(", "),
        at.len()
    ))
}
