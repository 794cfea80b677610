//! Text to AST, and ignore files.
//!
//! `cargo bench -p rbuild-parser -- parse` shows MB/s for Dockerfiles from 10 kB to 10 MB: work that grows faster than
//! the text shows as a rate that falls with its size.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rbuild_parser::ignore::Ignore;

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

/// Patterns as they are written, and the same number of patterns that only name files.
fn ignore(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ignore");
    let usual = b"**/node_modules\n*.log\n!keep.log\nbuild/**\n.git\n**/*.tmp\n".to_vec();
    let many = (0..200).map(|i| format!("generated/part{i}/*.o\n"));
    let many = many.collect::<String>().into_bytes();
    let paths: Vec<String> = (0..1000)
        .map(|i| format!("src/app{}/module{}/index{i}.js", i / 100, i / 10))
        .collect();
    group.throughput(Throughput::Elements(paths.len() as u64));
    for (name, patterns) in [("6 patterns", usual), ("200 patterns", many)] {
        let ignore = Ignore::parse(&patterns).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let excluded = |path: &&String| ignore.is_excluded(path.as_bytes());
                black_box(&paths).iter().filter(excluded).count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse, ignore);
criterion_main!(benches);
