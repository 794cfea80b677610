//! Results on standard output, remarks on standard error.

use std::io::{IsTerminal as _, Write as _};

use crate::progress::clean_text;
use crate::report::Failure;

/// Writes a result. A reader that went away ends the command as a failure, quietly.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
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

/// Returns a result as the terminal may have it, if it goes there; programs get every byte.
pub(crate) fn for_terminal(text: String) -> String {
    if std::io::stdout().is_terminal() {
        clean_text(&text)
    } else {
        text
    }
}

/// Writes a remark.
pub(crate) fn note(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}
