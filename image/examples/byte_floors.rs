//! What moving bytes costs at least on this machine. Each command prints the seconds of one run.
//!
//! `stat DIR`: the metadata of all files, on all processors. `pack DIR OUT`: reads all files in the order of their names
//! and writes their bytes to one file of as many bytes as a tar would have. `sha256 FILE`, `gzip FILE`, `zstd FILE`:
//! one processor, after the file was read into memory.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::ffi::OsString;
use std::hint::black_box;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

fn main() -> io::Result<()> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [what, rest @ ..] = args.as_slice() else {
        return Err(io::Error::other("which floor?"));
    };
    let seconds = match (what.to_str(), rest) {
        (Some("stat"), [dir]) => timed(|| stat_all(Path::new(dir)))?,
        (Some("pack"), [dir, out]) => timed(|| pack(Path::new(dir), Path::new(out)))?,
        (Some("sha256"), [file]) => of_bytes(file, |bytes| {
            black_box(Sha256::digest(bytes));
            Ok(())
        })?,
        (Some("gzip"), [file]) => of_bytes(file, deflate)?,
        (Some("zstd"), [file]) => of_bytes(file, |bytes| {
            black_box(zstd::bulk::compress(bytes, 3)?);
            Ok(())
        })?,
        _ => return Err(io::Error::other("no such floor")),
    };
    println!("{:.6}", seconds.as_secs_f64());
    Ok(())
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn of_bytes(file: &OsString, work: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<Duration> {
    let bytes = fs_err::read(Path::new(file))?;
    timed(|| work(&bytes))
}

/// Level 6 in members of 1 MiB, as layers are packed.
fn deflate(bytes: &[u8]) -> io::Result<()> {
    let level = libdeflater::CompressionLvl::new(6)
        .map_err(|error| io::Error::other(format!("level 6: {error:?}")))?;
    let mut compressor = libdeflater::Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(1 << 20)];
    for member in bytes.chunks(1 << 20) {
        let written = compressor.gzip_compress(member, &mut out);
        black_box(written.map_err(io::Error::other)?);
    }
    Ok(())
}

/// One task a folder, each file's metadata asked for once.
fn stat_all(dir: &Path) -> io::Result<()> {
    let mut folders = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
        black_box(entry.metadata()?);
    }
    folders.par_iter().try_for_each(|folder| stat_all(folder))
}

/// Paths in the order of a tar, and the sum of what a tar needs for them.
fn list(dir: &Path, found: &mut Vec<PathBuf>, tar_bytes: &mut u64) -> io::Result<()> {
    let entries = fs_err::read_dir(dir)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let metadata = fs_err::symlink_metadata(&path)?;
        *tar_bytes += 512;
        if metadata.is_dir() {
            list(&path, found, tar_bytes)?;
        } else if metadata.is_file() {
            *tar_bytes += metadata.len().next_multiple_of(512);
            found.push(path);
        }
    }
    Ok(())
}

fn pack(dir: &Path, out: &Path) -> io::Result<()> {
    let (mut paths, mut left) = (Vec::new(), 1024);
    list(dir, &mut paths, &mut left)?;
    let mut writer = io::BufWriter::with_capacity(1 << 20, fs_err::File::create(out)?);
    let mut buffer = Vec::new();
    for path in paths {
        buffer.clear();
        fs_err::File::open(path)?.read_to_end(&mut buffer)?;
        writer.write_all(&buffer)?;
        left = left.saturating_sub(buffer.len() as u64);
    }
    io::copy(&mut io::repeat(0).take(left), &mut writer)?;
    writer.flush()
}
