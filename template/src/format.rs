//! Values as `%v` has them.

use crate::number::shortest;
use crate::value::Value;

/// Adds what an action prints.
pub(crate) fn push_printed(out: &mut String, value: &Value) {
    match value {
        Value::Nil => out.push_str("<no value>"),
        other => push_value(out, other, Names::Hidden),
    }
}

/// Whether fields of structs have their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// `%v`
    Hidden,
    /// `%+v`
    Shown,
}

/// A value as `%v` has it.
pub(crate) fn shown(value: &Value) -> String {
    let mut out = String::new();
    push_value(&mut out, value, Names::Hidden);
    out
}

pub(crate) fn push_value(out: &mut String, value: &Value, names: Names) {
    match value {
        Value::Nil | Value::NilPointer => out.push_str("<nil>"),
        Value::NilList => out.push_str("[]"),
        Value::NilMap => out.push_str("map[]"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&shortest(*number)),
        Value::Number(text) | Value::Text(text) => out.push_str(text),
        Value::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                push_value(out, item, names);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let is_map = object.is_map();
            out.push_str(if is_map { "map[" } else { "{" });
            for (place, (name, value)) in object.fields.iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                if is_map || names == Names::Shown {
                    out.push_str(name);
                    out.push(':');
                }
                push_value(out, value, names);
            }
            out.push(if is_map { ']' } else { '}' });
        }
    }
}

/// Go's `Sprint`: a blank between two values if neither is a text.
pub(crate) fn sprint(values: &[Value]) -> String {
    let is_text = |value: &Value| matches!(value, Value::Text(_) | Value::Number(_));
    let mut out = String::new();
    for (place, value) in values.iter().enumerate() {
        if place > 0 && !is_text(value) && !is_text(&values[place - 1]) {
            out.push(' ');
        }
        push_value(&mut out, value, Names::Hidden);
    }
    out
}

/// Go's `Sprintln`: blanks between all values, and a line end.
pub(crate) fn sprintln(values: &[Value]) -> String {
    let texts: Vec<_> = values.iter().map(shown).collect();
    format!("{}\n", texts.join(" "))
}
