//! Runs a fuzz target's body over its seeds, for the ordinary tests. Each crate that has such bodies
//! includes this file.

use std::path::Path;

/// Calls `body` with each seed of `target`, and with each cut short: what a seed stands for should
/// not be the only thing that is read.
pub(crate) fn check_seeds(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("fuzz/seeds").join(target))
        .find(|folder| folder.is_dir())
        .expect("there are seeds");
    let mut n_seeds = 0;
    for entry in fs_err::read_dir(folder).expect("there are seeds") {
        let path = entry.expect("the folder can be read").path();
        let seed = fs_err::read(&path).expect("the seed can be read");
        n_seeds += 1;
        for length in [seed.len(), seed.len() / 2, seed.len() / 3] {
            let ran = std::panic::catch_unwind(|| body(&seed[..length]));
            assert!(ran.is_ok(), "{}, its first {length} bytes", path.display());
        }
    }
    assert!(n_seeds > 0, "{target} has no seeds");
}
