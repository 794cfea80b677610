//! One line of comma-separated values, as `RUN --mount` and many options of the command line have
//! them (<https://www.rfc-editor.org/rfc/rfc4180>, with Go's messages).

/// Why a value is not CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// Nothing was given.
    #[error("EOF")]
    Empty,
    /// A `"` inside a field that does not start with one.
    #[error("parse error on line 1, column {column}: bare \" in non-quoted field")]
    BareQuote {
        /// Byte of the quote, from 1.
        column: usize,
    },
    /// A quoted field that does not end, or that goes on after its end.
    #[error("parse error on line 1, column {column}: extraneous or missing \" in quoted-field")]
    Quote {
        /// Byte where that shows, from 1.
        column: usize,
    },
}

/// Splits `line` into its fields. A field may be quoted as a whole, with `""` for a quote; one line
/// end at the end is dropped.
///
/// # Errors
/// For an empty line and misplaced quotes.
pub fn fields(line: &str) -> Result<Vec<String>, CsvError> {
    let line = line
        .strip_suffix("\r\n")
        .or_else(|| line.strip_suffix('\n'))
        .unwrap_or(line);
    if line.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut fields = Vec::new();
    let mut position = 0;
    loop {
        let rest = &line[position..];
        let (field, length) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, position + 1)?,
            None => bare_field(rest, position)?,
        };
        fields.push(field);
        position += length;
        if position >= line.len() {
            return Ok(fields);
        }
        position += 1; // the comma
        if position == line.len() {
            fields.push(String::new());
            return Ok(fields);
        }
    }
}

/// Returns a field without quotes and its length.
fn bare_field(rest: &str, position: usize) -> Result<(String, usize), CsvError> {
    let field = rest.split(',').next().unwrap_or_default();
    match field.find('"') {
        Some(offset) => Err(CsvError::BareQuote {
            column: position + offset + 1,
        }),
        None => Ok((field.to_owned(), field.len())),
    }
}

/// Returns the field whose opening quote came before `quoted`, and its length with both quotes.
fn quoted_field(quoted: &str, position: usize) -> Result<(String, usize), CsvError> {
    let mut field = String::new();
    let mut offset = 0;
    loop {
        let Some(length) = quoted[offset..].find('"') else {
            return Err(CsvError::Quote {
                column: position + offset + 1,
            });
        };
        field.push_str(&quoted[offset..offset + length]);
        offset += length + 1;
        match quoted.as_bytes().get(offset) {
            Some(b'"') => {
                field.push('"');
                offset += 1;
            }
            None | Some(b',') => return Ok((field, offset + 1)),
            Some(_) => {
                return Err(CsvError::Quote {
                    column: position + offset,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let cases: &[(&str, &[&str])] = &[
            ("a", &["a"]),
            ("type=bind,target=/a", &["type=bind", "target=/a"]),
            ("a,,b,", &["a", "", "b", ""]),
            (r#""target=/a,b",c"#, &["target=/a,b", "c"]),
            (r#""a""b""#, &["a\"b"]),
            (r#""""#, &[""]),
            ("a\r\n", &["a"]),
        ];
        for (line, expected) in cases {
            assert_eq!(fields(line).unwrap(), *expected, "{line}");
        }
    }

    #[test]
    fn misplaced_quotes() {
        let message = |line: &str| fields(line).unwrap_err().to_string();
        assert_eq!(message(""), "EOF");
        assert_eq!(
            message("ab\"c"),
            "parse error on line 1, column 3: bare \" in non-quoted field"
        );
        assert_eq!(
            message("x,\"a\"b"),
            "parse error on line 1, column 5: extraneous or missing \" in quoted-field"
        );
        assert_eq!(
            message("\"a"),
            "parse error on line 1, column 2: extraneous or missing \" in quoted-field"
        );
    }
}
