//! The way from text to keys, without a file system: parsing, planning, key computation.
//!
//! `cargo bench --bench front -- parse` shows MB/s for Dockerfiles from 10 kB to 10 MB: work that
//! grows faster than the text shows as a rate that falls with its size.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rbuild_cache::key::KeyBuilder;
use rbuild_image::platform::Platform;
use rbuild_parser::ignore::Ignore;
use rbuild_planner::{BaseImages, Request};

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
    Request::new(Platform::host())
}

/// Sizes of the texts that are parsed, in bytes.
const SIZES: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];

/// What large Dockerfiles are made of: a name, what comes before and after, and a part that is
/// repeated until the size is reached.
const SHAPES: [(&str, &str, &str, &str); 5] = [
    (
        "instructions",
        "FROM scratch\n",
        "ENV V=\"$W x\" PATH=/opt/tool/bin:$PATH\n\
         RUN apt-get update && \\\n  \
         apt-get install -y --no-install-recommends \\\n    \
         ca-certificates curl git make gcc libc6-dev pkg-config libssl-dev && \\\n  \
         # the lists are not needed again\n  \
         rm -rf /var/lib/apt/lists/* && echo \"done with what $V is about\" >> /var/log/steps\n\
         COPY --from=build --chown=1000:1000 --chmod=0644 src/main src/lib src/data/*.json /app/src/\n",
        "",
    ),
    (
        "one line",
        "FROM scratch\nENV A=1",
        " \\\n  NAME=\"some value\"",
        "\n",
    ),
    (
        "heredoc",
        "FROM scratch\nCOPY <<EOF /x\n",
        "some text with a $VARIABLE in it\n",
        "EOF\n",
    ),
    (
        "comments",
        "",
        "# what is said here is kept for descriptions\n",
        "FROM scratch\n",
    ),
    (
        "nested words",
        "FROM scratch\nARG A=x",
        " \\\n B=${U:-${V:-\"${W:-'x'}\"}}",
        "\n",
    ),
];

fn parse(criterion: &mut Criterion) {
    for (shape, before, part, after) in SHAPES {
        let mut group = criterion.benchmark_group(format!("parse/{shape}"));
        group.sample_size(10);
        for size in SIZES {
            let text = format!("{before}{}{after}", part.repeat(size / part.len()));
            let parsed = rbuild_parser::parse(text.as_bytes());
            assert!(!parsed.has_errors(), "{shape}: {:?}", parsed.diagnostics[0]);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(size.to_string(), |bencher| {
                bencher.iter(|| rbuild_parser::parse(black_box(text.as_bytes())));
            });
        }
        group.finish();
    }
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
