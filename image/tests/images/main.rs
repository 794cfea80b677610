//! Names, platforms, the store, and images in and out of archives.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod archives;
mod assemble;
mod fixture;
mod platforms;
mod properties;
mod records;
mod references;
mod vectors;
