//! What must hold whatever the bytes are: the bodies of the fuzz targets.
//!
//! The targets in `fuzz/` call these functions with what the fuzzer finds; the tests below call them
//! with the seeds that are kept there, so that what was once broken stays mended without a fuzzer.

mod files;
mod patterns;
mod words;

pub use files::parser;
pub use patterns::dockerignore;
pub use words::expansion;

#[cfg(test)]
#[path = "../../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::seeds::check_seeds;

    #[test]
    fn seeds_of_parser() {
        check_seeds("parser", super::parser);
    }

    #[test]
    fn seeds_of_expansion() {
        check_seeds("expansion", super::expansion);
    }

    #[test]
    fn seeds_of_dockerignore() {
        check_seeds("dockerignore", super::dockerignore);
    }
}
