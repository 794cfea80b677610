//! The parts of a template. They print as Go prints them: messages quote them.

use std::fmt::{self, Display};

/// A constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Constant {
    Int(i64),
    Float(f64),
}

/// A part of the text or an action.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(Call),
    Break,
    Continue,
}

/// A block and what stands for it if the value is empty.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) list: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// `{{template "name" pipe}}`
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) position: usize,
    pub(crate) name: String,
    pub(crate) pipe: Option<Pipe>,
}

/// Commands, each given the value of the one before; and the variables that get the last one.
#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    pub(crate) position: usize,
    pub(crate) is_assignment: bool,
    pub(crate) variables: Vec<String>,
    pub(crate) commands: Vec<Command>,
}

/// A function or value and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) position: usize,
    pub(crate) operands: Vec<Operand>,
}

/// A word of a command.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) position: usize,
    pub(crate) kind: OperandKind,
}

#[derive(Debug, Clone)]
pub(crate) enum OperandKind {
    Function(String),
    /// `$x.Field`
    Variable(Vec<String>),
    Dot,
    Nil,
    Bool(bool),
    Number(String, Constant),
    /// As written, and its value.
    Text(String, String),
    Field(Vec<String>),
    /// `(pipe).Field`
    Chain(Box<Operand>, Vec<String>),
    Pipe(Pipe),
}

impl Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Function(name) => f.write_str(name),
            OperandKind::Variable(names) => f.write_str(&names.join(".")),
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(truth) => write!(f, "{truth}"),
            OperandKind::Number(text, _) | OperandKind::Text(text, _) => f.write_str(text),
            OperandKind::Field(names) => write_fields(f, names),
            OperandKind::Chain(operand, names) => {
                write!(f, "{operand}")?;
                write_fields(f, names)
            }
            OperandKind::Pipe(pipe) => write!(f, "({pipe})"),
        }
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, operand) in self.operands.iter().enumerate() {
            let blank = if place == 0 { "" } else { " " };
            write!(f, "{blank}{operand}")?;
        }
        Ok(())
    }
}

impl Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.is_assignment { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (place, command) in self.commands.iter().enumerate() {
            let bar = if place == 0 { "" } else { " | " };
            write!(f, "{bar}{command}")?;
        }
        Ok(())
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", crate::escape::quoted(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}
