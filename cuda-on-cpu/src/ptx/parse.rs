//! PTX as a tree.

use std::iter::Peekable;
use std::str::Chars;

/// A module: its variables and its kernels.
#[derive(Debug, Default)]
pub struct Module {
    pub variables: Vec<Variable>,
    pub entries: Vec<Entry>,
}

/// A variable in memory.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    /// `global`, `const`, `shared`, `local` or `param`.
    pub space: String,
    pub type_: String,
    pub align: usize,
    /// 0: as many as the launch says.
    pub n: usize,
    pub values: Vec<String>,
}

/// A kernel.
#[derive(Debug)]
pub struct Entry {
    pub name: String,
    pub params: Vec<Variable>,
    pub body: Vec<Item>,
}

/// A statement.
#[derive(Debug)]
pub enum Item {
    Open,
    Close,
    Label(String),
    /// Registers of a type: one, or as many as the number says, counted from 0.
    Registers(String, Vec<(String, Option<usize>)>),
    Variable(Variable),
    Instruction(Instruction),
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Runs if the predicate is `.1`.
    pub guard: Option<(String, bool)>,
    /// Its name without what follows the first point.
    pub name: String,
    /// The parts behind the name.
    pub parts: Vec<String>,
    pub operands: Vec<Operand>,
    pub text: String,
}

impl Instruction {
    pub fn has(&self, part: &str) -> bool {
        self.parts.iter().any(|each| each == part)
    }
}

/// What an instruction takes or gives.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A register, a variable, a label or a number, as it is written.
    Name(String),
    Vector(Vec<Operand>),
    /// `[base + offset]`, and coordinates where it is a tensor's.
    Address {
        base: String,
        offset: i64,
        at: Vec<Operand>,
    },
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
}

/// The tree of a module, or the statement that is not understood.
pub fn parse(text: &str) -> Result<Module, String> {
    let mut reader = Reader { chars: without_comments(text).chars().collect::<String>(), at: 0 };
    let mut module = Module::default();
    while let Some(statement) = reader.statement() {
        match statement {
            Statement::Text(text) => {
                let words: Vec<&str> = text.split_whitespace().collect();
                if words.iter().any(|word| [".global", ".const", ".shared"].contains(word)) {
                    module.variables.push(variable(&text)?);
                } else if words.contains(&".entry") {
                    module.entries.push(entry(&text, &mut reader)?);
                } else if words.contains(&".func") {
                    return Err(format!("a function that is called: {text}"));
                }
            }
            Statement::Open | Statement::Close => {}
            Statement::Label(label) => return Err(format!("a label outside a kernel: {label}")),
        }
    }
    Ok(module)
}

fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let word = line.trim_start();
        let directive = word.split_whitespace().next().unwrap_or_default();
        let ignored = [".loc", ".file", ".version", ".target", ".address_size", ".pragma"];
        if word.starts_with(".section") {
            break;
        }
        if !ignored.contains(&directive) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

enum Statement {
    Text(String),
    Open,
    Close,
    Label(String),
}

struct Reader {
    chars: String,
    at: usize,
}

impl Reader {
    fn statement(&mut self) -> Option<Statement> {
        let rest = &self.chars[self.at..];
        let skipped = rest.len() - rest.trim_start().len();
        self.at += skipped;
        let rest = &self.chars[self.at..];
        let first = rest.chars().next()?;
        if first == '{' || first == '}' {
            self.at += 1;
            return Some(if first == '{' { Statement::Open } else { Statement::Close });
        }
        let is_entry =
            rest.starts_with(".visible") || rest.starts_with(".entry") || rest.starts_with(".weak");
        for (index, char) in rest.char_indices() {
            let before = &rest[..index];
            match char {
                ':' if is_label(before) && !rest[index + 1..].starts_with(':') => {
                    self.at += index + 1;
                    return Some(Statement::Label(before.trim().to_owned()));
                }
                ';' => {
                    self.at += index + 1;
                    return Some(Statement::Text(before.trim().to_owned()));
                }
                '{' if is_entry && before.contains(".entry") => {
                    self.at += index;
                    return Some(Statement::Text(before.trim().to_owned()));
                }
                _ => {}
            }
        }
        self.at = self.chars.len();
        (!rest.trim().is_empty()).then(|| Statement::Text(rest.trim().to_owned()))
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_alphanumeric() || char == '_' || char == '$')
}

fn entry(head: &str, reader: &mut Reader) -> Result<Entry, String> {
    let after = head.split(".entry").nth(1).unwrap_or_default();
    let (name, rest) = after.split_once('(').ok_or_else(|| format!("no parameters: {head}"))?;
    let list = rest.split(')').next().unwrap_or_default();
    let params = list.split(',').filter(|param| !param.trim().is_empty());
    let params = params.map(variable).collect::<Result<_, _>>()?;
    let (mut body, mut depth) = (Vec::new(), 0);
    while let Some(statement) = reader.statement() {
        match statement {
            Statement::Open => {
                depth += 1;
                body.push(Item::Open);
            }
            Statement::Close => {
                depth -= 1;
                body.push(Item::Close);
                if depth == 0 {
                    break;
                }
            }
            Statement::Label(label) => body.push(Item::Label(label)),
            Statement::Text(text) => body.push(item(&text)?),
        }
    }
    Ok(Entry { name: name.trim().to_owned(), params, body })
}

fn item(text: &str) -> Result<Item, String> {
    if let Some(rest) = text.strip_prefix(".reg") {
        let (type_, names) = rest.trim().split_once(char::is_whitespace).ok_or_else(|| text.to_owned())?;
        let names = names.split(',').map(|name| match name.trim().split_once('<') {
            Some((name, n)) => (name.to_owned(), n.trim_end_matches('>').parse().ok()),
            None => (name.trim().to_owned(), None),
        });
        return Ok(Item::Registers(type_.trim_start_matches('.').to_owned(), names.collect()));
    }
    if text.starts_with('.') {
        return Ok(Item::Variable(variable(text)?));
    }
    instruction(text).map(Item::Instruction)
}

fn variable(text: &str) -> Result<Variable, String> {
    let (declaration, values) = match text.split_once('=') {
        Some((declaration, values)) => (declaration, values.trim().trim_matches(['{', '}'])),
        None => (text, ""),
    };
    let mut found = Variable {
        name: String::new(),
        space: String::new(),
        type_: String::new(),
        align: 1,
        n: 1,
        values: values
            .split(',')
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .collect(),
    };
    let mut words = declaration.split_whitespace();
    while let Some(word) = words.next() {
        match word.strip_prefix('.') {
            Some("align") => found.align = words.next().and_then(|n| n.parse().ok()).unwrap_or(1),
            Some(space @ ("global" | "const" | "shared" | "local" | "param")) => {
                found.space = space.to_owned()
            }
            Some("visible" | "extern" | "weak" | "ptr") => {}
            Some(type_) => found.type_ = type_.to_owned(),
            None => match word.split_once('[') {
                Some((name, n)) => {
                    found.name = name.to_owned();
                    found.n = n.trim_end_matches(']').parse().unwrap_or(0);
                }
                None => found.name = word.to_owned(),
            },
        }
    }
    if found.name.is_empty() || found.type_.is_empty() {
        return Err(format!("not a variable: {text}"));
    }
    Ok(found)
}

fn instruction(text: &str) -> Result<Instruction, String> {
    let mut rest = text;
    let mut guard = None;
    if let Some(guarded) = text.strip_prefix('@') {
        let (predicate, after) = guarded.split_once(char::is_whitespace).ok_or_else(|| text.to_owned())?;
        guard = Some((predicate.trim_start_matches('!').to_owned(), !predicate.starts_with('!')));
        rest = after.trim_start();
    }
    let (opcode, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let mut parts = opcode.split('.').map(str::to_owned);
    let name = parts.next().unwrap_or_default();
    let mut chars = operands.chars().peekable();
    let operands = list(&mut chars, None).map_err(|problem| format!("{problem}: {text}"))?;
    Ok(Instruction {
        guard,
        name,
        parts: parts.collect(),
        operands,
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

/// Operands up to a closing character, or to the end.
fn list(chars: &mut Peekable<Chars>, closing: Option<char>) -> Result<Vec<Operand>, String> {
    let mut found = Vec::new();
    loop {
        while chars.next_if(|char| char.is_whitespace() || *char == ',').is_some() {}
        match chars.peek().copied() {
            None if closing.is_none() => return Ok(found),
            None => return Err("an operand does not end".to_owned()),
            Some(char) if Some(char) == closing => {
                chars.next();
                return Ok(found);
            }
            Some(_) => found.push(operand(chars)?),
        }
    }
}

fn operand(chars: &mut Peekable<Chars>) -> Result<Operand, String> {
    let first = match chars.peek() {
        Some('{') => {
            chars.next();
            Operand::Vector(list(chars, Some('}'))?)
        }
        Some('[') => {
            chars.next();
            address(list(chars, Some(']'))?)?
        }
        _ => Operand::Name(word(chars)),
    };
    if chars.next_if_eq(&'|').is_some() {
        return Ok(Operand::Pair(Box::new(first), Box::new(operand(chars)?)));
    }
    Ok(first)
}

fn word(chars: &mut Peekable<Chars>) -> String {
    let mut word = String::new();
    while let Some(char) = chars.next_if(|char| !",|{}[]".contains(*char)) {
        word.push(char);
    }
    word.trim().to_owned()
}

fn address(parts: Vec<Operand>) -> Result<Operand, String> {
    let mut parts = parts.into_iter();
    let Some(Operand::Name(text)) = parts.next() else { return Err("not an address".to_owned()) };
    let at = match parts.next() {
        Some(Operand::Vector(at)) => at,
        _ => Vec::new(),
    };
    let (base, offset) = match text.split_once('+') {
        Some((base, offset)) => {
            let offset = offset.trim();
            (base.trim(), offset.parse().map_err(|_| format!("an offset that is no number: {offset}"))?)
        }
        None => (text.as_str(), 0),
    };
    Ok(Operand::Address { base: base.to_owned(), offset, at })
}
