//! Numbers as Go reads and writes them.

use crate::ast::Constant;

/// Reads a constant: decimal, hexadecimal, octal or binary, with underscores between digits.
pub(crate) fn constant(text: &str) -> Option<Constant> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text),
    };
    if digits.ends_with('_') || digits.contains("__") || digits.starts_with('_') {
        return None;
    }
    let plain = digits.replace('_', "").to_ascii_lowercase();
    let (radix, number) = match plain.get(..2) {
        Some("0x") => (16, &plain[2..]),
        Some("0o") => (8, &plain[2..]),
        Some("0b") => (2, &plain[2..]),
        _ if plain.len() > 1 && plain.starts_with('0') && !plain.contains(['.', 'e']) => {
            (8, &plain[1..])
        }
        _ => (10, plain.as_str()),
    };
    if radix != 10 || !number.contains(['.', 'e']) {
        return i64::from_str_radix(&format!("{sign}{number}"), radix)
            .ok()
            .map(Constant::Int);
    }
    let value: f64 = format!("{sign}{number}").parse().ok()?;
    value.is_finite().then_some(Constant::Float(value))
}

/// A float as `%v` has it: the fewest digits, with an exponent if it is below -4 or above 20.
pub(crate) fn shortest(value: f64) -> String {
    general(value, None, 21)
}

/// A float as `%g`; `exponent_from` is the exponent at which the other form begins.
pub(crate) fn general(value: f64, precision: Option<usize>, exponent_from: i32) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    let scientific = match precision {
        Some(digits) => format!("{value:.*e}", digits.max(1) - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = trim_zeros(mantissa);
    if exponent < -4 || exponent >= exponent_from {
        return with_exponent(mantissa, exponent);
    }
    match precision {
        Some(digits) => {
            let after = i32::try_from(digits.max(1)).unwrap_or(i32::MAX) - 1 - exponent;
            let after = usize::try_from(after).unwrap_or(0);
            trim_zeros(&format!("{value:.after$}")).to_owned()
        }
        None => format!("{value}"),
    }
}

/// A float as `%e`.
pub(crate) fn scientific(value: f64, precision: Option<usize>) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    let text = format!("{value:.*e}", precision.unwrap_or(6));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    with_exponent(mantissa, exponent.parse().unwrap_or(0))
}

pub(crate) fn not_finite(value: f64) -> String {
    let text = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    };
    text.to_owned()
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants() {
        for (text, expected) in [
            ("0", Some(Constant::Int(0))),
            ("017", Some(Constant::Int(15))),
            ("0x1F", Some(Constant::Int(31))),
            ("-0b11", Some(Constant::Int(-3))),
            ("1_000", Some(Constant::Int(1000))),
            ("1e3", Some(Constant::Float(1000.0))),
            (".5", Some(Constant::Float(0.5))),
            ("1__0", None),
            ("99999999999999999999", None),
            ("0x", None),
            ("+", None),
        ] {
            assert_eq!(constant(text), expected, "{text}");
        }
    }

    #[test]
    fn floats() {
        for (value, expected) in [
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.0, "0"),
            (-2.0, "-2"),
        ] {
            assert_eq!(shortest(value), expected);
        }
        assert_eq!(general(1234.5678, Some(3), 3), "1.23e+03");
        assert_eq!(general(12.34, Some(3), 3), "12.3");
        assert_eq!(scientific(1234.5678, None), "1.234568e+03");
    }
}
