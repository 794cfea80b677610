//! Durations as Go writes them: `300ms`, `-1.5h`, `2h45m`
//! (<https://pkg.go.dev/time#ParseDuration>).

use crate::quote::quote;

/// Units with their length in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration; returns nanoseconds.
///
/// # Errors
/// Go's message.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = Number::read(rest).ok_or_else(invalid)?;
        let length = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let (unit, text) = (quote(unit), quote(text));
            return Err(format!("time: unknown unit {unit} in duration {text}"));
        };
        let part = number.times(*scale).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        if total > 1 << 63 {
            return Err(invalid());
        }
        rest = after;
    }
    let signed = i64::try_from(total);
    if is_negative {
        // The one value without a positive counterpart.
        return Ok(signed.map_or(i64::MIN, |value| -value));
    }
    signed.map_err(|_too_large| invalid())
}

/// A decimal number.
struct Number {
    whole: u64,
    /// Digits after the point as a number, and the power of ten to divide it by.
    fraction: u64,
    divisor: u64,
}

impl Number {
    fn read(text: &str) -> Option<(Self, &str)> {
        let digits =
            |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let whole_length = digits(text);
        let (whole, mut rest) = text.split_at(whole_length);
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            (fraction, rest) = after.split_at(digits(after));
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut number = Self {
            whole: if whole.is_empty() {
                0
            } else {
                whole.parse().ok().filter(|value| *value <= 1 << 63)?
            },
            fraction: 0,
            divisor: 1,
        };
        // Digits beyond what fits do not count.
        for digit in fraction.bytes().take(18) {
            number.fraction = number.fraction * 10 + u64::from(digit - b'0');
            number.divisor *= 10;
        }
        Some((number, rest))
    }

    fn times(&self, scale: u64) -> Option<u64> {
        let whole = self.whole.checked_mul(scale)?;
        let fraction = u128::from(self.fraction) * u128::from(scale) / u128::from(self.divisor);
        whole.checked_add(u64::try_from(fraction).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases: &[(&str, i64)] = &[
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("-1ms", -1_000_000),
            ("+3us", 3_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1µs", 1_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("0.3333333333333333333333h", 1_199_999_999_999),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn errors() {
        let cases = [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("s", "time: invalid duration \"s\""),
            (".", "time: invalid duration \".\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("1s5", "time: missing unit in duration \"1s5\""),
            (
                "9223372036854775808ns",
                "time: invalid duration \"9223372036854775808ns\"",
            ),
            (
                "99999999999999999999h",
                "time: invalid duration \"99999999999999999999h\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }
}
