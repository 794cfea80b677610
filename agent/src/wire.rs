//! The data types of SSH (<https://www.rfc-editor.org/rfc/rfc4251#section-5>).

/// Reads from a byte string; every read is `None` past its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn number(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    /// A number that is not negative, without leading zeros.
    pub(crate) fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            return None;
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(&bytes[zeros..])
    }
}

/// Puts a byte string together.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn of_kind(kind: u8) -> Self {
        Self(vec![kind])
    }

    pub(crate) fn number(&mut self, number: u32) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn string(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(length(bytes));
        self.0.extend_from_slice(bytes);
        self
    }

    /// A number that is not negative; leading zeros do not matter.
    pub(crate) fn integer(&mut self, bytes: &[u8]) -> &mut Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = &bytes[zeros..];
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            let padded = [&[0], bytes].concat();
            return self.string(&padded);
        }
        self.string(bytes)
    }
}

/// All that is written here is far shorter than 4 GiB.
pub(crate) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::of_kind(7);
        writer
            .number(9)
            .string(b"text")
            .integer(&[0, 0x80, 1])
            .integer(&[0, 5]);
        let mut reader = Reader(&writer.0);
        assert_eq!(reader.byte(), Some(7));
        assert_eq!(reader.number(), Some(9));
        assert_eq!(reader.string(), Some(&b"text"[..]));
        assert_eq!(reader.integer(), Some(&[0x80, 1][..]));
        assert_eq!(reader.integer(), Some(&[5][..]));
        assert_eq!(reader.byte(), None);
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\x05abcd", b"\xff\xff\xff\xff"] {
            assert_eq!(Reader(bytes).string(), None);
        }
        assert_eq!(Reader(b"\0\0\0\x01\x80").integer(), None, "negative");
    }
}
