//! Keys, and look-ups in a database that has seen years of builds.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rbuild_cache::Database;
use rbuild_cache::files::{FileDigests, FileState};
use rbuild_cache::key::{CacheKey, ChainElement, ContentChain, KeyBuilder};
use rbuild_cache::record::Record;
use rbuild_image::digest::{DiffId, Digest};

fn key(criterion: &mut Criterion) {
    criterion.bench_function("key of 40 leaves", |bencher| {
        bencher.iter(|| {
            let mut key = KeyBuilder::new("run");
            for leaf in 0..40 {
                let value = if leaf % 2 == 0 {
                    "A=1"
                } else {
                    "PATH=/usr/bin"
                };
                key.text("env", black_box(value));
            }
            key.finish()
        });
    });
    let layers: Vec<ChainElement> = (0..100).map(|i| ChainElement::Content([i; 32])).collect();
    criterion.bench_function("content chain of 100 layers", |bencher| {
        bencher.iter(|| {
            let mut chain = ContentChain::default();
            layers.iter().for_each(|layer| chain.push(black_box(layer)));
            chain.digest()
        });
    });
}

fn key_of(number: u32) -> CacheKey {
    let mut key = KeyBuilder::new("run");
    key.text("command", &number.to_string());
    key.finish().0
}

/// A look-up takes as long among 100,000 records as among 100.
fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for n_records in [100, 100_000] {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("db")).unwrap();
        for number in 0..n_records {
            let key = key_of(number);
            let record = Record {
                diff_id: DiffId(Digest::of(&number.to_le_bytes())),
                content: key.0,
                size: 1,
                created: 1,
                duration: Duration::ZERO,
            };
            database
                .keep_record(&key, &record, "RUN make", &[], 1)
                .unwrap();
        }
        let mut number = 0;
        group.bench_function(format!("among {n_records}"), |bencher| {
            bencher.iter(|| {
                number = (number + 7919) % n_records;
                database.record(&key_of(number)).unwrap().unwrap()
            });
        });
        group.bench_function(format!("absent among {n_records}"), |bencher| {
            bencher.iter(|| database.record(&key_of(n_records + 1)).unwrap());
        });
    }
    group.finish();
}

fn state(number: u64) -> FileState {
    FileState {
        dev: 1,
        ino: number,
        size: 100,
        mtime: (1, 0),
        ctime: (1, 0),
    }
}

/// What a build of 40,000 unchanged files asks.
fn file_digests(criterion: &mut Criterion) {
    const N_FILES: u64 = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&dir.path().join("db")).unwrap();
    let digests = FileDigests::load(&database, b"/context").unwrap();
    for number in 0..N_FILES {
        digests.note(state(number), [1; 32], i128::from(u32::MAX) * 1_000_000_000);
    }
    digests.save(&database, 1).unwrap();
    let mut group = criterion.benchmark_group("file digests");
    group.throughput(Throughput::Elements(N_FILES));
    group.bench_function("load and look up", |bencher| {
        bencher.iter(|| {
            let digests = FileDigests::load(&database, b"/context").unwrap();
            let known = |number: &u64| digests.lookup(&state(*number)).is_some();
            assert_eq!((0..N_FILES).filter(known).count() as u64, N_FILES);
        });
    });
    group.finish();
}

criterion_group!(benches, key, records, file_digests);
criterion_main!(benches);
