//! Sizes with units, as `RUN --mount=type=tmpfs,size=` and options of the command line have them.

/// Reads a number of bytes: digits with an optional fraction, then an optional unit of 1024
/// (`k`, `m`, `g`, `t`, `p`, any case) with an optional `b` or `ib` behind it. `None` if it is
/// something else, or more than fits.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let bytes = whole.checked_mul(1 << shift)?;
    // Twelve digits are more precise than any unit up to a pebibyte shows.
    let fraction = &fraction[..fraction.len().min(12)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = (fraction.parse::<u128>().ok()? << shift) / scale;
    bytes.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("10", Some(10)),
            ("10m", Some(10 << 20)),
            ("1.5k", Some(1536)),
            ("64MB", Some(64 << 20)),
            ("2 GiB", Some(2 << 30)),
            ("0", Some(0)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1.", None),
            ("1.2.3", None),
            ("10x", None),
            ("99999999999999999999", None),
            ("99999999p", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }
}
