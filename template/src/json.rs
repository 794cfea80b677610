//! JSON as Go's encoder writes it.

use std::fmt::Write as _;
use std::rc::Rc;

use crate::number::general;
use crate::value::{Object, Shape, Value};

/// Whether `<`, `>` and `&` are written as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Html {
    /// They are.
    Plain,
    /// They are not.
    Escaped,
}

/// Returns a value as JSON in one line.
#[must_use]
pub fn to_json(value: &Value, html: Html) -> String {
    let mut out = String::new();
    push(&mut out, value, html);
    out
}

/// Returns JSON of one line over many, as Go's `Indent` does it with two blanks.
pub(crate) fn indented(line: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_usize;
    let (mut is_text, mut is_escaped) = (false, false);
    let mut characters = line.chars().peekable();
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(character) = characters.next() {
        if is_text {
            is_text = character != '"' || is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            out.push(character);
            continue;
        }
        match character {
            '{' | '[' => {
                out.push(character);
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(character);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                is_text = character == '"';
                out.push(character);
            }
        }
    }
    out
}

/// The fields that JSON has, in its order.
pub(crate) fn shown_fields(object: &Object) -> impl Iterator<Item = (&Rc<str>, &Value)> {
    let omit = match object.shape {
        Shape::Struct { omit, .. } => omit,
        _ => &[],
    };
    let mut fields: Vec<_> = object.fields.iter().collect();
    if matches!(object.shape, Shape::Row { .. }) {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
    }
    fields
        .into_iter()
        .filter(move |(name, value)| value.is_true() || !omit.contains(&name.as_ref()))
        .map(|(name, value)| (name, value))
}

fn push(out: &mut String, value: &Value, html: Html) {
    match value {
        Value::Nil | Value::NilPointer | Value::NilList | Value::NilMap => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&general(*number, None, 21)),
        Value::Number(digits) => out.push_str(digits),
        Value::Text(text) => push_text(out, text, html),
        Value::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                push(out, item, html);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let html = match object.shape {
                Shape::Row { .. } => Html::Escaped,
                _ => html,
            };
            out.push('{');
            for (place, (name, value)) in shown_fields(object).enumerate() {
                if place > 0 {
                    out.push(',');
                }
                push_text(out, name, html);
                out.push(':');
                push(out, value, html);
            }
            out.push('}');
        }
    }
}

fn push_text(out: &mut String, text: &str, html: Html) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => push_code(out, character),
            '<' | '>' | '&' if html == Html::Escaped => push_code(out, character),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn push_code(out: &mut String, character: char) {
    let written = write!(out, "\\u{:04x}", u32::from(character));
    debug_assert!(written.is_ok(), "a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_indented() {
        let line = r#"{"a":[],"b":{"c":"x\",:{[","d":[1,{}]},"e\\":null}"#;
        let expected = "{\n  \"a\": [],\n  \"b\": {\n    \"c\": \"x\\\",:{[\",\n    \"d\": [\n      \
                        1,\n      {}\n    ]\n  },\n  \"e\\\\\": null\n}";
        assert_eq!(indented(line), expected);
        assert_eq!(indented("1"), "1");
        assert_eq!(indented("[]"), "[]");
    }
}
