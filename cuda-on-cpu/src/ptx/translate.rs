//! A module as a C file.

use std::collections::HashSet;
use std::fmt::Write;

use super::expression::{Names, Type, clean};
use super::instruction::instruction;
use super::parse::{Entry, Item, Module, Variable, parse};

/// Where dynamic shared memory begins: swizzles go by the address, in units of this.
const SHARED_ALIGNMENT: usize = 1024;

/// The C of a module.
#[derive(Debug)]
pub struct Translated {
    pub source: String,
    pub kernels: Vec<Kernel>,
}

/// A kernel of the C file.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub name: String,
    /// Bytes of shared memory below what a launch asks for.
    pub n_static_shared: usize,
    pub n_params: usize,
    /// No thread of it waits for another.
    pub is_alone: bool,
}

/// The C of a module in PTX, or the first statement that is not understood.
pub fn translate(ptx: &str) -> Result<Translated, String> {
    let module = parse(ptx)?;
    let mut translated = Translated { source: "#include \"kernel.h\"\n".to_owned(), kernels: Vec::new() };
    for entry in &module.entries {
        let kernel = kernel(&module, entry, &mut translated.source)?;
        translated.kernels.push(kernel);
    }
    Ok(translated)
}

fn kernel(module: &Module, entry: &Entry, source: &mut String) -> Result<Kernel, String> {
    let mut names = Names::default();
    let (mut n_static_shared, start) = (0usize, source.len());
    for (index, param) in entry.params.iter().enumerate() {
        names.variables.insert(param.name.clone(), format!("(uint64_t)params[{index}]"));
    }
    let inner = entry.body.iter().filter_map(|item| match item {
        Item::Variable(variable) => Some(variable),
        _ => None,
    });
    let used = mentioned(entry);
    let mut dynamic = Vec::new();
    for variable in
        module.variables.iter().chain(inner.clone()).filter(|variable| used.contains(&variable.name))
    {
        match variable.space.as_str() {
            "shared" if variable.n == 0 => dynamic.push(variable.name.clone()),
            "shared" => {
                let at = n_static_shared.next_multiple_of(variable.align.max(1));
                n_static_shared = at + size(variable)?;
                names.variables.insert(variable.name.clone(), format!("{at}u"));
            }
            "local" => {}
            _ => {
                let name = format!("{}_{}", clean(&entry.name), clean(&variable.name));
                writeln!(source, "static {}", array(variable, &name)?).expect("text");
                names.variables.insert(variable.name.clone(), format!("(uint64_t){name}"));
            }
        }
    }
    n_static_shared = n_static_shared.next_multiple_of(SHARED_ALIGNMENT);
    for name in dynamic {
        names.variables.insert(name, format!("{n_static_shared}u"));
    }
    writeln!(
        source,
        "void {}(struct thread *t, void **params) {{\n    uint64_t ignored; uint32_t carry = 0; (void)carry;",
        entry.name
    )
    .expect("text");
    for item in &entry.body {
        statement(item, &mut names, source)?;
    }
    source.push_str("}\n");
    let is_alone = !source[start..].contains("t->call->");
    Ok(Kernel { name: entry.name.clone(), n_static_shared, n_params: entry.params.len(), is_alone })
}

fn statement(item: &Item, names: &mut Names, source: &mut String) -> Result<(), String> {
    match item {
        Item::Open => source.push_str("{\n"),
        Item::Close => source.push_str(";}\n"),
        Item::Label(label) => writeln!(source, "{}:;", clean(label)).expect("text"),
        Item::Registers(type_, list) => {
            let type_ = Type::parse(type_).ok_or_else(|| format!("registers of type {type_}"))?;
            for (name, n) in list {
                let all: Vec<String> = match n {
                    Some(n) => (0..*n).map(|index| format!("{name}{index}")).collect(),
                    None => vec![name.clone()],
                };
                for name in all {
                    writeln!(source, "{} v_{};", type_.register(), clean(&name)).expect("text");
                    names.registers.insert(name, type_);
                }
            }
        }
        Item::Variable(variable) if variable.space == "local" => {
            let name = format!("local_{}", clean(&variable.name));
            writeln!(source, "{}", array(variable, &name)?).expect("text");
            names.variables.insert(variable.name.clone(), format!("(uint64_t){name}"));
        }
        Item::Variable(_) => {}
        Item::Instruction(each) => {
            let code = instruction(each, names).map_err(|problem| format!("{problem}: {}", each.text))?;
            match &each.guard {
                Some((predicate, true)) => {
                    writeln!(source, "if ({}) {{ {code} }}", names.register(predicate)?).expect("text");
                }
                Some((predicate, false)) => {
                    writeln!(source, "if (!{}) {{ {code} }}", names.register(predicate)?).expect("text");
                }
                None => writeln!(source, "{code}").expect("text"),
            }
        }
    }
    Ok(())
}

/// All words of a kernel: which variables it needs.
fn mentioned(entry: &Entry) -> HashSet<String> {
    let mut words = HashSet::new();
    for item in &entry.body {
        let text = match item {
            Item::Instruction(instruction) => instruction.text.clone(),
            Item::Variable(variable) => variable.name.clone(),
            _ => continue,
        };
        let split = text.split(|char: char| !(char.is_alphanumeric() || char == '_' || char == '$'));
        words.extend(split.map(str::to_owned));
    }
    words
}

fn size(variable: &Variable) -> Result<usize, String> {
    let type_ =
        Type::parse(&variable.type_).ok_or_else(|| format!("a variable of type {}", variable.type_))?;
    Ok(type_.bits as usize / 8 * variable.n)
}

fn array(variable: &Variable, name: &str) -> Result<String, String> {
    let type_ =
        Type::parse(&variable.type_).ok_or_else(|| format!("a variable of type {}", variable.type_))?;
    let values: Vec<String> = variable
        .values
        .iter()
        .map(|value| match value.strip_prefix("0f") {
            Some(bits) => format!("0x{bits}"),
            None => value.clone(),
        })
        .collect();
    let values = if values.is_empty() { String::new() } else { format!(" = {{{}}}", values.join(", ")) };
    Ok(format!(
        "{} {name}[{}] __attribute__((aligned({}))){values};",
        type_.register(),
        variable.n.max(1),
        variable.align.max(1)
    ))
}
