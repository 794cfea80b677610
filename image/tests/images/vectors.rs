//! Where the recorded behaviour of other tools lies.

use std::path::PathBuf;

/// Returns a file of recorded behaviour; `None`, with a notice, if this checkout has none.
///
/// The folder is `$RBUILD_IMAGES_DATA`, else `shared/images-data` beside the checkout.
#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests should know what was not tested"
)]
pub(crate) fn read(name: &str) -> Option<String> {
    let folder = std::env::var_os("RBUILD_IMAGES_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/images-data"),
        PathBuf::from,
    );
    let path = folder.join(name);
    match fs_err::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}
