//! Puts N records of steps that never ran into a database: `fill_records DB N`. What is built in that store then
//! finds a database as full as after years of builds.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use rbuild_cache::Database;
use rbuild_cache::key::KeyBuilder;
use rbuild_cache::record::Record;
use rbuild_image::digest::{DiffId, Digest};

fn main() -> io::Result<()> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [path, count] = args.as_slice() else {
        return Err(io::Error::other("which database, how many records?"));
    };
    let count = count.to_str().and_then(|count| count.parse().ok());
    let count: u32 = count.ok_or_else(|| io::Error::other("how many records?"))?;
    let database = Database::open(Path::new(path)).map_err(io::Error::other)?;
    for number in 0..count {
        let (key, leaves) = key_of(number).finish();
        let record = Record {
            diff_id: DiffId(Digest::of(&number.to_le_bytes())),
            content: key.0,
            size: u64::from(number),
            created: 1_700_000_000 + i64::from(number),
            duration: Duration::from_millis(100),
        };
        let instruction = format!("RUN make step{number}");
        database
            .keep_record(&key, &record, &instruction, &leaves, record.created)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// As many leaves as a step with a few variables has.
fn key_of(number: u32) -> KeyBuilder {
    let mut key = KeyBuilder::new("run");
    key.text("command", &format!("/bin/sh -c make step{number}"));
    for variable in 0..10 {
        key.text("env", &format!("VARIABLE_{variable}=value {variable}"));
    }
    key.digest("parent", &[1; 32]);
    key
}
