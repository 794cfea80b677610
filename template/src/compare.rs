//! `eq`, `lt` and their like.

use std::cmp::Ordering;

use crate::value::Value;

/// Whether `first` is one of the others.
pub(crate) fn equals_any(first: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        let is_equal = match (first, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            _ => match (text(first), text(other)) {
                (Some(a), Some(b)) => a == b,
                _ => equals_odd(first, other)?,
            },
        };
        if is_equal {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Nil can be compared with everything; lists and maps with nothing else.
fn equals_odd(first: &Value, other: &Value) -> Result<bool, String> {
    if *first == Value::Nil || *other == Value::Nil {
        let is_nil = |value: &Value| {
            matches!(
                value,
                Value::Nil | Value::NilPointer | Value::NilList | Value::NilMap
            )
        };
        return Ok(is_nil(first) && is_nil(other));
    }
    if is_basic(first) || is_basic(other) {
        return Err(incompatible(first, other));
    }
    let name = first.type_name();
    Err(format!(
        "non-comparable types {first}: {name}, {other_name}: {other}",
        first = crate::format::shown(first),
        other = crate::format::shown(other),
        other_name = other.type_name()
    ))
}

fn is_basic(value: &Value) -> bool {
    matches!(
        value,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Number(_) | Value::Text(_)
    )
}

fn incompatible(first: &Value, other: &Value) -> String {
    format!(
        "incompatible types for comparison: {} and {}",
        first.type_name(),
        other.type_name()
    )
}

pub(crate) fn is_less(first: &Value, other: &Value) -> Result<bool, String> {
    Ok(order(first, other)? == Some(Ordering::Less))
}

pub(crate) fn is_more(first: &Value, other: &Value) -> Result<bool, String> {
    Ok(order(first, other)? == Some(Ordering::Greater))
}

fn order(first: &Value, other: &Value) -> Result<Option<Ordering>, String> {
    let has_order = |value: &Value| is_basic(value) && !matches!(value, Value::Bool(_));
    match (first, other) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        _ => match (text(first), text(other)) {
            (Some(a), Some(b)) => Ok(Some(a.cmp(b))),
            _ if is_basic(first) && has_order(other) || has_order(first) && is_basic(other) => {
                Err(incompatible(first, other))
            }
            _ => Err("invalid type for comparison".to_owned()),
        },
    }
}

/// `json.Number` is a kind of string.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Number(text) => Some(text),
        _ => None,
    }
}
