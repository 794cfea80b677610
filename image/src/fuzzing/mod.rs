//! What must hold whatever the bytes are: the bodies of the fuzz targets.
//!
//! The targets in `fuzz/` call these functions with what the fuzzer finds; the tests below call them
//! with the seeds that are kept there, so that what was once broken stays mended without a fuzzer.

mod archives;
mod documents;
mod indexes;
mod layers;
mod names;

pub use archives::archives;
pub use documents::manifests;
pub use indexes::layer_index;
pub use layers::tar_ingest;
pub use names::references;

#[cfg(test)]
#[path = "../../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::seeds::check_seeds;

    #[test]
    fn seeds_of_references() {
        check_seeds("references", super::references);
    }

    #[test]
    fn seeds_of_manifests() {
        check_seeds("manifests", super::manifests);
    }

    #[test]
    fn seeds_of_archives() {
        check_seeds("archives", super::archives);
    }

    #[test]
    fn seeds_of_tar_ingest() {
        check_seeds("tar_ingest", super::tar_ingest);
    }

    #[test]
    fn seeds_of_layer_index() {
        check_seeds("layer_index", super::layer_index);
    }
}
