//! Where the recorded behaviour of other tools lies.

use std::path::PathBuf;

/// Returns a file of recorded behaviour; `None`, with a notice, if this checkout has none.
///
/// The folder is `images-data` below `$RBUILD_SHARED`, else below `shared` beside the checkout.
#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests should know what was not tested"
)]
pub(crate) fn read(name: &str) -> Option<String> {
    let shared = std::env::var_os("RBUILD_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = shared.join("images-data").join(name);
    match fs_err::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}
