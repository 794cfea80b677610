//! The functions: Go's own, and those that Docker adds.

use crate::compare;
use crate::element;
use crate::escape;
use crate::format::{shown, sprint, sprintln};
use crate::json::{Html, indented, to_json};
use crate::printf::sprintf;
use crate::value::Value;

/// What the functions work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// Data.
    Values,
    /// Titles of columns, which keep their looks.
    Titles,
    /// Data; JSON goes over many lines.
    Documents,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    Any,
    Text,
    Int,
}

impl Param {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
        }
    }
}

/// The parameters of a function; `rest` are any number of further ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signature {
    pub(crate) params: &'static [Param],
    pub(crate) rest: Option<Param>,
}

pub(crate) fn exists(name: &str) -> bool {
    signature(name).is_some()
}

pub(crate) fn signature(name: &str) -> Option<Signature> {
    use Param::{Any, Int, Text};
    let (params, rest): (&'static [Param], _) = match name {
        "and" | "or" | "eq" | "index" | "slice" | "call" => (&[Any], Some(Any)),
        "not" | "len" | "json" => (&[Any], None),
        "print" | "println" | "html" | "js" | "urlquery" => (&[], Some(Any)),
        "printf" => (&[Text], Some(Any)),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[Any, Any], None),
        "split" => (&[Text, Text], None),
        "join" => (&[Any, Text], None),
        "title" | "lower" | "upper" => (&[Text], None),
        "pad" => (&[Text, Int, Int], None),
        "truncate" => (&[Text, Int], None),
        _ => return None,
    };
    Some(Signature { params, rest })
}

/// Calls a function with arguments that fit its signature. `callee` is what `call` was asked to call.
pub(crate) fn apply(name: &str, set: Set, args: &[Value], callee: &str) -> Result<Value, String> {
    if set == Set::Titles
        && let ("json" | "title" | "lower" | "upper" | "truncate", Some(title)) =
            (name, args.first())
    {
        return Ok(title.clone());
    }
    let text = |place: usize| match args.get(place) {
        Some(Value::Text(text)) => text.as_ref(),
        _ => "",
    };
    Ok(match name {
        "not" => Value::Bool(!args[0].is_true()),
        "len" => Value::Int(element::length(&args[0])?),
        "index" => element::index(&args[0], &args[1..])?,
        "slice" => element::slice(&args[0], &args[1..])?,
        "call" => return Err(not_callable(&args[0], callee)),
        "print" => Value::text(&sprint(args)),
        "println" => Value::text(&sprintln(args)),
        "printf" => Value::text(&sprintf(text(0), &args[1..])),
        "html" => Value::text(&escape::html(&joined(args))),
        "js" => Value::text(&escape::javascript(&joined(args))),
        "urlquery" => Value::text(&escape::query(&joined(args))),
        "eq" => Value::Bool(compare::equals_any(&args[0], &args[1..])?),
        "ne" => Value::Bool(!compare::equals_any(&args[0], &args[1..])?),
        "lt" => Value::Bool(compare::is_less(&args[0], &args[1])?),
        "gt" => Value::Bool(compare::is_more(&args[0], &args[1])?),
        "le" => Value::Bool(!compare::is_more(&args[0], &args[1])?),
        "ge" => Value::Bool(!compare::is_less(&args[0], &args[1])?),
        "json" if set == Set::Documents => {
            Value::text(&indented(&to_json(&args[0], Html::Escaped)))
        }
        "json" => Value::text(&to_json(&args[0], Html::Plain)),
        "split" => Value::texts(split(text(0), text(1))),
        "join" => Value::text(&join(&args[0], text(1))?),
        "title" => Value::text(&title(text(0))),
        "lower" => Value::text(&text(0).to_lowercase()),
        "upper" => Value::text(&text(0).to_uppercase()),
        "pad" => Value::text(&pad(text(0), &args[1], &args[2])?),
        "truncate" => Value::text(truncate(text(0), &args[1])?),
        _ => return Err(format!("{name} is not a defined function")),
    })
}

fn not_callable(value: &Value, callee: &str) -> String {
    match value {
        Value::Nil => "call of nil".to_owned(),
        _ => format!("non-function {callee} of type {}", value.type_name()),
    }
}

/// The arguments of an escaping function as one text.
fn joined(args: &[Value]) -> String {
    match args {
        [Value::Text(text)] => text.to_string(),
        _ => sprint(args),
    }
}

/// An empty separator splits after each character.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    if separator.is_empty() {
        return text.split_inclusive(|_: char| true).collect();
    }
    text.split(separator).collect()
}

fn join(list: &Value, separator: &str) -> Result<String, String> {
    let mut texts: Vec<String> = match list {
        Value::Nil | Value::NilList | Value::NilMap => Vec::new(),
        Value::List(items) => items.iter().map(shown).collect(),
        Value::Object(object) if object.is_map() => object
            .fields
            .iter()
            .map(|(_, value)| shown(value))
            .collect(),
        other => return Err(format!("expected slice, got {}", other.type_name())),
    };
    if matches!(list, Value::Object(_)) {
        texts.sort();
    }
    Ok(texts.join(separator))
}

/// Every word with a capital.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::new();
    for character in text.chars() {
        let is_inner = before.is_alphanumeric() || before == '_' || before == '\'';
        if is_inner {
            out.push(character);
        } else {
            out.extend(character.to_uppercase());
        }
        before = character;
    }
    out
}

/// The most blanks that are added at once.
const MAX_PADDING: i64 = 1_000_000;

fn pad(text: &str, before: &Value, after: &Value) -> Result<String, String> {
    let blanks = |count: &Value| match count {
        Value::Int(count @ 0..=MAX_PADDING) => Ok(" ".repeat(usize::try_from(*count).unwrap_or(0))),
        Value::Int(..0) => Err("strings: negative Repeat count".to_owned()),
        _ => Err("strings: Repeat output length overflow".to_owned()),
    };
    if text.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("{}{text}{}", blanks(before)?, blanks(after)?))
}

/// The first bytes of a text, up to the end of a character.
fn truncate<'a>(text: &'a str, length: &Value) -> Result<&'a str, String> {
    let Value::Int(length) = length else {
        return Ok(text);
    };
    let Ok(length) = usize::try_from(*length) else {
        return Err(format!(
            "runtime error: slice bounds out of range [:{length}]"
        ));
    };
    if text.len() < length {
        return Ok(text);
    }
    let end = (0..=length).rev().find(|end| text.is_char_boundary(*end));
    Ok(&text[..end.unwrap_or(0)])
}
