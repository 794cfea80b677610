//! Sizes as people write them.

use crate::environment;

/// Returns the size in an environment variable, or what holds if it is unset.
pub(crate) fn limit(variable: &str, default: u64) -> Result<u64, String> {
    environment::variable(variable).map_or(Ok(default), |text| {
        parse_size(&text).map_err(|problem| format!("{variable}: {problem}"))
    })
}

/// Bytes of a size: a number with a decimal unit as Docker has them (`20GB`, `1.5g`, `512MB`), or a
/// binary one (`20GiB`); without a unit, bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size; sizes are written like 20GB, 512MiB or 1000000");
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let number: f64 = trimmed[..end].parse().map_err(|_not_a_number| bad())?;
    let unit = trimmed[end..].trim().to_ascii_lowercase();
    let (letters, base) = match unit.strip_suffix("ib") {
        Some(letters) => (letters, 1024.0_f64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000.0),
    };
    let exponent = match letters {
        "" if base > 1000.0 => return Err(bad()),
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    let bytes = number * base.powi(exponent);
    if !bytes.is_finite() || bytes >= 9e18 {
        return Err(bad());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative and below 2^63"
    )]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("0", 0),
            ("1000", 1000),
            ("20GB", 20_000_000_000),
            ("1.5g", 1_500_000_000),
            ("512MiB", 512 << 20),
            ("3 kb", 3000),
            ("1b", 1),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for bad in ["", "GB", "-1", "1x", "1.2.3", "99999999999P", "1ib"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
