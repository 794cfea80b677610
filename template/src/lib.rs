//! Templates in the language of Go's `text/template`, with the functions Docker adds, as
//! `--format` takes them.
//!
//! Texts, errors among them, are Go's to the byte: scripts compare them. Parsing and executing are
//! pure and never panic; what Go leaves to its stack is bounded here ([`MAX_DEPTH`]).
//!
//! ```
//! use rbuild_template::{Missing, Template, Value};
//!
//! let template = Template::parse("{{.Os}}/{{upper .Arch}}")?;
//! let data = Value::from(serde_json::json!({"Os": "linux", "Arch": "arm64"}));
//! assert_eq!(template.execute(&data, Missing::Error)?, "linux/ARM64");
//! # Ok::<(), rbuild_template::TemplateError>(())
//! ```

mod ast;
mod compare;
mod element;
mod escape;
mod exec;
mod format;
mod functions;
mod json;
mod lex;
mod number;
mod parse;
mod printf;
mod value;

use std::collections::BTreeMap;

use thiserror::Error;

pub use json::{Html, to_json};
pub use value::{Object, Shape, Value};

/// How deep parentheses, blocks, and templates in templates may go.
pub const MAX_DEPTH: usize = 200;

/// Why there is no text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The template is none.
    #[error("{0}")]
    Parse(String),
    /// The data do not fit the template.
    #[error("{0}")]
    Execute(String),
}

/// What a key that a map does not have is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: `<no value>`.
    NoValue,
    /// An error.
    Error,
}

/// A template that was understood.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    nodes: Vec<ast::Node>,
    named: BTreeMap<String, Vec<ast::Node>>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError::Parse`] with Go's words.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let parsed = parse::parse(text).map_err(TemplateError::Parse)?;
        Ok(Self {
            text: text.to_owned(),
            nodes: parsed.nodes,
            named: parsed.named,
        })
    }

    /// Fills the template with `data`.
    ///
    /// # Errors
    /// [`TemplateError::Execute`] with Go's words.
    pub fn execute(&self, data: &Value, missing: Missing) -> Result<String, TemplateError> {
        exec::execute(self, data, missing, functions::Set::Values).map_err(TemplateError::Execute)
    }

    /// Fills the template with `data`; JSON is written over many lines, and HTML in it escaped.
    ///
    /// # Errors
    /// [`TemplateError::Execute`] with Go's words.
    pub fn execute_documents(
        &self,
        data: &Value,
        missing: Missing,
    ) -> Result<String, TemplateError> {
        exec::execute(self, data, missing, functions::Set::Documents)
            .map_err(TemplateError::Execute)
    }

    /// Fills the template with titles of columns: functions that change how a value looks leave them
    /// as they are.
    ///
    /// # Errors
    /// [`TemplateError::Execute`] with Go's words.
    pub fn execute_header(&self, titles: &Value) -> Result<String, TemplateError> {
        exec::execute(self, titles, Missing::NoValue, functions::Set::Titles)
            .map_err(TemplateError::Execute)
    }
}
