//! Layers: their index, the tree that several make, packing, compression.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed benchmark")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rbuild_image::error::ImageError;
use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, Mtime};
use rbuild_image::layer::{Compression, LayerIndex, Rootfs, compress, pack};

const N_FILES: usize = 40_000;

fn entry(path: String, kind: EntryKind) -> Entry {
    Entry {
        path: path.into_bytes(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
    }
}

/// Files in folders of 20; `layer` says which of them.
fn files(layer: usize, n_files: usize, size: u64) -> Vec<Entry> {
    (0..n_files)
        .map(|number| {
            let path = format!("app/d{:04}/l{layer}/f{number}.js", number / 20);
            let digest = ContentDigest(*blake3::hash(path.as_bytes()).as_bytes());
            entry(path, EntryKind::File { size, digest })
        })
        .collect()
}

fn index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index of 40,000 files");
    group.throughput(Throughput::Elements(N_FILES as u64));
    let entries = files(0, N_FILES, 100);
    let index = LayerIndex::from_entries(entries.clone()).unwrap();
    let encoded = index.encode().unwrap();
    group.bench_function("make", |bencher| {
        bencher.iter(|| LayerIndex::from_entries(black_box(entries.clone())).unwrap());
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| black_box(&index).encode().unwrap());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| LayerIndex::decode(black_box(&encoded)).unwrap());
    });
    group.finish();
}

fn rootfs(criterion: &mut Criterion) {
    const N_LAYERS: usize = 20;
    let per_layer = N_FILES / N_LAYERS;
    let layers = (0..N_LAYERS)
        .map(|layer| Arc::new(LayerIndex::from_entries(files(layer, per_layer, 100)).unwrap()));
    let rootfs = Rootfs::new(layers.collect());
    let mut group = criterion.benchmark_group("20 layers of 2,000 files");
    group.throughput(Throughput::Elements(N_FILES as u64));
    group.bench_function("merge", |bencher| {
        bencher.iter(|| black_box(&rootfs).walk(b"").count());
    });
    group.throughput(Throughput::Elements(1));
    for (name, layer) in [
        ("look up in the top", N_LAYERS - 1),
        ("look up in the base", 0),
    ] {
        let path = format!("app/d0050/l{layer}/f1001.js").into_bytes();
        assert!(rootfs.lookup(&path).is_some());
        group.bench_function(name, |bencher| {
            bencher.iter(|| rootfs.lookup(black_box(&path)).is_some());
        });
    }
    group.bench_function("look up what is not there", |bencher| {
        bencher.iter(|| rootfs.lookup(black_box(b"app/d0050/none")).is_some());
    });
    group.finish();
}

/// Bytes that compress about as well as source code.
fn text(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let words: Vec<String> = (0..4000).map(|number| format!("word{number} ")).collect();
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = (state >> 16) as usize % words.len();
        bytes.extend_from_slice(words[word].as_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn packing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack");
    group.sample_size(10);
    for (name, n_files, size) in [
        ("10,000 files of 2 kB", 10_000, 2_000),
        ("1 file of 20 MB", 1, 20_000_000),
    ] {
        let (content, mut entries) = (text(size), files(0, n_files, size as u64));
        entries = LayerIndex::from_entries(entries)
            .unwrap()
            .entries()
            .to_vec();
        group.throughput(Throughput::Bytes((n_files * size) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let packed = pack::<ImageError>(None, |packer| {
                    for entry in &entries {
                        packer.add(entry.clone(), Some(&mut &content[..]))?;
                    }
                    Ok(())
                });
                packed.unwrap().diff_id
            });
        });
    }
    group.finish();
}

fn compression(criterion: &mut Criterion) {
    let content = text(16 << 20);
    let mut group = criterion.benchmark_group("compress");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(content.len() as u64));
    for compression in [Compression::Gzip, Compression::Zstd] {
        for n_threads in [0, 2] {
            let name = format!("{} with {n_threads} threads more", compression.name());
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let mut out = Vec::new();
                    let written = compress(&mut out, compression, n_threads, |writer| {
                        writer
                            .write_all(&content)
                            .map_err(ImageError::io("write what is compressed"))
                    });
                    written.unwrap();
                    out.len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, index, rootfs, packing, compression);
criterion_main!(benches);
