//! One instruction as C.

use super::expression::Names;
use super::parse::{Instruction, Operand};
use super::{convert, float, integer, memory, together};

/// The C of an instruction, without its guard.
pub fn instruction(each: &Instruction, names: &Names) -> Result<String, String> {
    if let Some(code) = control(each) {
        return code;
    }
    for group in
        [integer::translate, float::translate, convert::translate, memory::translate, together::translate]
    {
        if let Some(code) = group(each, names) {
            return code;
        }
    }
    Err("an instruction that is not known here".to_owned())
}

fn control(each: &Instruction) -> Option<Result<String, String>> {
    let code = match each.name.as_str() {
        "bra" => match each.operands.as_slice() {
            [Operand::Name(label)] => format!("goto {};", super::expression::clean(label)),
            _ => return Some(Err("no label".to_owned())),
        },
        "ret" | "exit" => "return;".to_owned(),
        "trap" => "t->call->stop(t, \"trap\");".to_owned(),
        "fence" | "membar" => "__sync_synchronize();".to_owned(),
        // Advice.
        "nanosleep" | "prefetch" | "prefetchu" | "griddepcontrol" | "discard" => String::new(),
        _ => return None,
    };
    Some(Ok(code))
}

/// `into = value;`
pub fn assign(names: &Names, into: &Operand, value: &str) -> Result<String, String> {
    let Operand::Name(name) = into else { return Err(format!("not a register: {into:?}")) };
    Ok(format!("{} = {value};", names.register(name)?))
}
