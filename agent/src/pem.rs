//! PEM files (<https://www.rfc-editor.org/rfc/rfc7468>), as far as private keys use them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::KeyError;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The first block of a file.
#[derive(Debug)]
pub(crate) struct Pem<'a> {
    /// What it says it is, e.g. `OPENSSH PRIVATE KEY`.
    pub(crate) label: &'a str,
    /// Its bytes.
    pub(crate) content: Vec<u8>,
}

impl<'a> Pem<'a> {
    /// Reads the first block of a file.
    pub(crate) fn parse(text: &'a str) -> Result<Self, KeyError> {
        let (_, rest) = text.split_once(BEGIN).ok_or(KeyError::Format)?;
        let (label, rest) = rest.split_once(DASHES).ok_or(KeyError::Format)?;
        let end = format!("-----END {label}{DASHES}");
        let (body, _) = rest.split_once(&end).ok_or(KeyError::Damaged)?;
        let mut encoded = String::with_capacity(body.len());
        for line in body.lines().map(str::trim) {
            // A header, of the time before keys had formats that say so themselves.
            if line.contains(':') {
                if line.contains("ENCRYPTED") {
                    return Err(KeyError::Passphrase);
                }
                continue;
            }
            encoded.push_str(line);
        }
        let content = STANDARD
            .decode(encoded)
            .map_err(|_not_base64| KeyError::Damaged)?;
        Ok(Self { label, content })
    }
}
