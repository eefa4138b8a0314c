//! Operands as C.

use std::collections::HashMap;

use super::parse::{Instruction, Operand};

/// What a register or an instruction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bits,
    Unsigned,
    Signed,
    Float,
    Bfloat,
    Tf32,
    Predicate,
}

/// A type of PTX. Two numbers in one register are `packed`, each of `bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    pub kind: Kind,
    pub bits: u32,
    pub packed: bool,
}

impl Type {
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = match text {
            "pred" => return Some(Self { kind: Kind::Predicate, bits: 1, packed: false }),
            "tf32" => return Some(Self { kind: Kind::Tf32, bits: 32, packed: false }),
            _ if text.starts_with("bf") => (Kind::Bfloat, &text[2..]),
            _ if text.starts_with('b') => (Kind::Bits, &text[1..]),
            _ if text.starts_with('u') => (Kind::Unsigned, &text[1..]),
            _ if text.starts_with('s') => (Kind::Signed, &text[1..]),
            _ if text.starts_with('f') => (Kind::Float, &text[1..]),
            _ => return None,
        };
        let (bits, packed) = match rest.strip_suffix("x2") {
            Some(bits) => (bits, true),
            None => (rest, false),
        };
        let bits = bits.parse().ok().filter(|bits| [8, 16, 32, 64, 128].contains(bits))?;
        Some(Self { kind, bits, packed })
    }

    /// The C type of a register that holds it.
    pub fn register(self) -> String {
        match (self.kind, if self.packed { 2 * self.bits } else { self.bits }) {
            (Kind::Predicate, _) => "_Bool".to_owned(),
            (_, bits) => format!("uint{}_t", bits.max(8)),
        }
    }

    /// The C type of a value of it, as an integer.
    pub fn integer(self) -> String {
        let letter = if self.kind == Kind::Signed { "" } else { "u" };
        format!("{letter}int{}_t", self.bits)
    }

    pub fn is_float(self) -> bool {
        matches!(self.kind, Kind::Float | Kind::Bfloat | Kind::Tf32)
    }
}

/// The types among the parts of an instruction, in their order.
pub fn types(instruction: &Instruction) -> Vec<Type> {
    instruction.parts.iter().filter_map(|part| Type::parse(part)).collect()
}

/// The names of a kernel and what they are in C.
#[derive(Debug, Default)]
pub struct Names {
    pub registers: HashMap<String, Type>,
    /// Variables: the C expression of their address in their space.
    pub variables: HashMap<String, String>,
}

impl Names {
    /// The C name of a register.
    pub fn register(&self, name: &str) -> Result<String, String> {
        if name == "_" {
            return Ok("ignored".to_owned());
        }
        if self.registers.contains_key(name) {
            return Ok(format!("v_{}", clean(name)));
        }
        Err(format!("no register {name}"))
    }

    /// The bits of an operand, of the width of its register.
    pub fn bits(&self, operand: &Operand) -> Result<String, String> {
        let Operand::Name(name) = operand else { return Err(format!("not a plain operand: {operand:?}")) };
        if let Some(special) = special(name) {
            return Ok(special);
        }
        if let Some(address) = self.variables.get(name) {
            return Ok(address.clone());
        }
        if name.starts_with(|char: char| char.is_ascii_digit() || char == '-') {
            return number(name);
        }
        self.register(name)
    }

    /// An operand as a C integer of a type.
    pub fn integer(&self, operand: &Operand, type_: Type) -> Result<String, String> {
        let bits = self.bits(operand)?;
        Ok(if type_.kind == Kind::Predicate { bits } else { format!("(({}){bits})", type_.integer()) })
    }

    /// An operand as a C float; `f64` as a double.
    pub fn float(&self, operand: &Operand, type_: Type) -> Result<String, String> {
        let bits = self.bits(operand)?;
        Ok(match (type_.kind, type_.bits) {
            (Kind::Float, 64) => format!("D({bits})"),
            (Kind::Float, 16) => format!("H({bits})"),
            (Kind::Bfloat, _) => format!("B({bits})"),
            _ => format!("F({bits})"),
        })
    }

    /// Where an operand in memory is: a C expression of type `uint8_t *`.
    pub fn place(&self, operand: &Operand, space: &str) -> Result<String, String> {
        let Operand::Address { base, offset, .. } = operand else {
            return Err(format!("not an address: {operand:?}"));
        };
        let at = self.bits(&Operand::Name(base.clone()))?;
        Ok(match space {
            "param" => format!("((uint8_t *)({at}) + {offset})"),
            "shared" => format!("(t->shared + (uint32_t)({at} + {offset}))"),
            _ => format!("((uint8_t *)(uint64_t)({at}) + {offset})"),
        })
    }

    /// An address in shared memory as a number.
    pub fn shared_address(&self, operand: &Operand) -> Result<String, String> {
        let Operand::Address { base, offset, .. } = operand else {
            return Err(format!("not an address: {operand:?}"));
        };
        Ok(format!("(uint32_t)({} + {offset})", self.bits(&Operand::Name(base.clone()))?))
    }
}

/// The bits that a float of a type has, for a register.
pub fn float_bits(value: &str, type_: Type) -> String {
    match (type_.kind, type_.bits) {
        (Kind::Float, 64) => format!("UD({value})"),
        (Kind::Float, 16) => format!("UH({value})"),
        (Kind::Bfloat, _) => format!("UB({value})"),
        _ => format!("U({value})"),
    }
}

pub fn clean(name: &str) -> String {
    name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}

fn special(name: &str) -> Option<String> {
    if name == "WARP_SZ" {
        return Some("32u".to_owned());
    }
    let (name, axis) = match name.strip_prefix('%')?.split_once('.') {
        Some((name, axis)) => (name, ["x", "y", "z"].iter().position(|each| *each == axis)?),
        None => (&name[1..], 0),
    };
    Some(match name {
        "tid" | "ntid" | "ctaid" | "nctaid" => format!("t->{name}[{axis}]"),
        "laneid" => "t->lane".to_owned(),
        "warpid" => "t->warp".to_owned(),
        "lanemask_lt" => "((1u << t->lane) - 1)".to_owned(),
        "lanemask_le" => "((2u << t->lane) - 1)".to_owned(),
        "lanemask_eq" => "(1u << t->lane)".to_owned(),
        "lanemask_ge" => "(~0u << t->lane)".to_owned(),
        "lanemask_gt" => "(~1u << t->lane)".to_owned(),
        // Clusters of one block.
        "clusterid" => format!("t->ctaid[{axis}]"),
        "nclusterid" => format!("t->nctaid[{axis}]"),
        "cluster_ctaid" | "cluster_ctarank" => "0u".to_owned(),
        "cluster_nctaid" | "cluster_nctarank" => "1u".to_owned(),
        _ => return None,
    })
}

fn number(text: &str) -> Result<String, String> {
    let wrong = || format!("not a number: {text}");
    if let Some(bits) = text.strip_prefix("0f").or_else(|| text.strip_prefix("0F")) {
        return u32::from_str_radix(bits, 16).map(|bits| format!("{bits:#x}u")).map_err(|_| wrong());
    }
    if let Some(bits) = text.strip_prefix("0d").or_else(|| text.strip_prefix("0D")) {
        return u64::from_str_radix(bits, 16).map(|bits| format!("{bits:#x}ull")).map_err(|_| wrong());
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let digits = digits.trim_end_matches(['U', 'u']);
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| wrong())?;
    Ok(format!("(int64_t){}ull", if negative { value.wrapping_neg() } else { value }))
}
