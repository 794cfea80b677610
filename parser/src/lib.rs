//! rbuild-parser: text to a spanned syntax tree, variable expansion, ignore files.
//!
//! Pure and total: it reads no file and no environment, and never panics. It knows nothing of
//! images, contexts or builds.

pub mod ast;
pub mod boolean;
pub mod checks;
pub mod csv;
pub mod diagnostic;
pub mod dump;
pub mod expand;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod glob;
pub mod ignore;
mod lower;
mod messages;
pub mod quote;
pub mod size;
pub mod span;
pub mod suggest;
pub mod syntax;

pub use lower::{Parsed, parse, parse_trigger};
