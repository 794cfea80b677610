//! The way from text to keys, without a file system: parsing, planning, key computation.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rbuild_cache::key::KeyBuilder;
use rbuild_image::platform::Platform;
use rbuild_parser::ignore::Ignore;
use rbuild_planner::{BaseImages, Network, Request};

fn dockerfile(n_steps: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("FROM scratch\n");
    for step in 0..n_steps {
        writeln!(
            text,
            "ENV V{step}=\"$V{} x\"\nRUN echo {step} \\\n  && true",
            step / 2
        )
        .unwrap();
    }
    text
}

fn request() -> Request {
    Request {
        target: None,
        build_args: Vec::new(),
        platforms: Vec::new(),
        build_platform: Platform::host(),
        labels: Vec::new(),
        no_cache: false,
        no_cache_filter: Vec::new(),
        contexts: std::collections::BTreeMap::new(),
        network: Network::Default,
        extra_hosts: Vec::new(),
        limits: rbuild_planner::Limits::default(),
        allow_insecure: false,
        ignore: None,
    }
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for n_steps in [100, 10_000] {
        let text = dockerfile(n_steps);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{n_steps} steps"), |bencher| {
            bencher.iter(|| rbuild_parser::parse(black_box(text.as_bytes())));
        });
    }
    group.finish();
}

fn plan(criterion: &mut Criterion) {
    let parsed = rbuild_parser::parse(dockerfile(100).as_bytes());
    let (request, bases) = (request(), BaseImages::new());
    criterion.bench_function("plan 100 steps", |bencher| {
        bencher.iter(|| rbuild_planner::plan(black_box(&parsed.dockerfile), &request, &bases));
    });
}

fn key(criterion: &mut Criterion) {
    criterion.bench_function("key of 40 leaves", |bencher| {
        bencher.iter(|| {
            let mut key = KeyBuilder::new("run");
            for leaf in 0..40 {
                key.text(
                    "env",
                    black_box(if leaf % 2 == 0 {
                        "A=1"
                    } else {
                        "PATH=/usr/bin:/bin"
                    }),
                );
            }
            key.finish()
        });
    });
}

fn ignore(criterion: &mut Criterion) {
    let ignore = Ignore::parse(b"**/node_modules\n*.log\n!keep.log\nbuild/**\n").unwrap();
    criterion.bench_function("ignore a path", |bencher| {
        bencher.iter(|| ignore.is_excluded(black_box(b"src/app/node_modules/x/index.js")));
    });
}

criterion_group!(benches, parse, plan, key, ignore);
criterion_main!(benches);
