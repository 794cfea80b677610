//! Every finding of the parser: one function each, with its code, BuildKit's words, and what to do.

mod file;
mod instruction;

pub(crate) use file::*;
pub(crate) use instruction::*;
