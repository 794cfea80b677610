//! `len`, `index` and `slice`.

use crate::format::shown;
use crate::value::{Shape, Value};

pub(crate) fn length(value: &Value) -> Result<i64, String> {
    let length = match value {
        Value::Nil | Value::NilPointer => return Err("len of nil pointer".to_owned()),
        Value::NilList | Value::NilMap => 0,
        Value::Text(text) | Value::Number(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Object(object) if object.is_map() => object.fields.len(),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

pub(crate) fn index(item: &Value, indexes: &[Value]) -> Result<Value, String> {
    let mut item = item.clone();
    if item == Value::Nil {
        return Err("index of untyped nil".to_owned());
    }
    for index in indexes {
        item = match &item {
            Value::Nil | Value::NilPointer => return Err("index of nil pointer".to_owned()),
            Value::NilList => {
                bound(index, 0)?;
                return Err("reflect: slice index out of range".to_owned());
            }
            Value::List(items) => {
                let place = bound(index, items.len())?;
                let found = items.get(place).cloned();
                found.ok_or("reflect: slice index out of range")?
            }
            Value::Text(text) | Value::Number(text) => {
                let place = bound(index, text.len())?;
                let found = text.as_bytes().get(place);
                let byte = found.ok_or("reflect: string index out of range")?;
                Value::Int(i64::from(*byte))
            }
            Value::NilMap => {
                key(index)?;
                Value::text("")
            }
            Value::Object(object) if object.is_map() => {
                let name = key(index)?;
                let nothing = if object.shape == Shape::Texts {
                    Value::text("")
                } else {
                    Value::Nil
                };
                object.get(&name).cloned().unwrap_or(nothing)
            }
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

pub(crate) fn slice(item: &Value, indexes: &[Value]) -> Result<Value, String> {
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let length = match item {
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        Value::Text(_) | Value::Number(_) if indexes.len() == 3 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::Text(text) | Value::Number(text) => text.len(),
        Value::List(items) => items.len(),
        Value::NilList => 0,
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut bounds = [0, length, length];
    for (place, index) in indexes.iter().enumerate() {
        bounds[place] = bound(index, length)?;
    }
    let [from, to, capacity] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > capacity {
        return Err(format!("invalid slice index: {to} > {capacity}"));
    }
    Ok(match item {
        Value::Text(text) | Value::Number(text) => {
            Value::text(&String::from_utf8_lossy(&text.as_bytes()[from..to]))
        }
        Value::List(items) => Value::List(items[from..to].into()),
        other => other.clone(),
    })
}

/// A place in something with `length` places, or its end.
fn bound(index: &Value, length: usize) -> Result<usize, String> {
    let place = match index {
        Value::Int(place) => *place,
        Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => {
            let name = other.type_name();
            return Err(format!("cannot index slice/array with type {name}"));
        }
    };
    let found = usize::try_from(place).ok().filter(|place| *place <= length);
    found.ok_or_else(|| format!("index out of range: {place}"))
}

fn key(index: &Value) -> Result<String, String> {
    match index {
        Value::Text(text) => Ok(text.to_string()),
        Value::Nil => Err("value is nil; should be of type string".to_owned()),
        Value::Number(_) => Ok(shown(index)),
        other => {
            let name = other.type_name();
            Err(format!("value has type {name}; should be string"))
        }
    }
}
