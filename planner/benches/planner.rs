//! AST to a graph of steps.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rbuild_image::platform::Platform;
use rbuild_planner::{BaseImages, Request};

/// Each variable uses one that was set long before.
fn dockerfile(n_steps: usize) -> String {
    let steps = (0..n_steps).map(|step| {
        let before = step / 2;
        format!("ENV V{step}=\"$V{before} x\"\nRUN echo {step} \\\n  && true\n")
    });
    format!("FROM scratch\n{}", steps.collect::<String>())
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    for n_steps in [10, 100, 1000] {
        let parsed = rbuild_parser::parse(dockerfile(n_steps).as_bytes());
        let (request, bases) = (Request::new(Platform::host()), BaseImages::new());
        group.throughput(Throughput::Elements(n_steps as u64));
        group.bench_function(format!("{n_steps} steps"), |bencher| {
            bencher.iter(|| rbuild_planner::plan(black_box(&parsed.dockerfile), &request, &bases));
        });
    }
    group.finish();
}

criterion_group!(benches, plan);
criterion_main!(benches);
