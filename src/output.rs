//! Results on standard output, remarks on standard error.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

use crate::progress::clean_text;
use crate::report::Failure;

/// Writes a result: to a terminal without control characters, for much of it comes from images; to
/// programs every byte. A reader that went away ends the command as a failure, quietly.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    let text = if std::io::stdout().is_terminal() {
        Cow::Owned(clean_text(text))
    } else {
        Cow::Borrowed(text)
    };
    drawn(&text)
}

/// [`result`] of a text with colours, which is harmless already.
pub(crate) fn drawn(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::Silent),
        Err(error) => Err(Failure::message(format!(
            "cannot write to standard output: {error}"
        ))),
    }
}

/// Writes a remark.
pub(crate) fn note(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}
