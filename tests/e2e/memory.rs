//! Memory does not grow with what is built.

use std::path::Path;
use std::process::Stdio;

use crate::support::TestEnv;

/// Most resident memory of a build's processes together, in bytes.
const LIMIT: u64 = 100_000_000;

/// Most that each file adds to it, in bytes: its name, its state, and its digest, some of it twice; and its share of the
/// buffers that packing much takes.
const LIMIT_OF_A_FILE: u64 = 900;

/// Folders of 100 files, none like another.
fn write_files(dir: &Path, n_folders: u32, file_bytes: usize) {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let mut bytes: Vec<u8> = noise.take(file_bytes).collect();
    for folder in 0..n_folders {
        let path = dir.join(format!("{folder:03}"));
        fs_err::create_dir_all(&path).unwrap();
        for file in 0..100_u32 {
            bytes[..4].copy_from_slice(&(folder * 100 + file).to_le_bytes());
            fs_err::write(path.join(format!("{file:02}")), &bytes).unwrap();
        }
    }
}

/// Highest resident memory of a process so far, in bytes.
fn peak_of(pid: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0) * 1024
}

/// A process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let tasks = fs_err::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten();
        for task in tasks.filter_map(Result::ok) {
            let children = fs_err::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    found
}

/// Builds, and returns the highest resident memory of all processes together, in bytes.
fn peak_of_build(env: &TestEnv, context: &Path, args: &[&str]) -> u64 {
    let mut child = env
        .command()
        .args(["build", "-q"])
        .args(args)
        .arg(context)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        let all = family(child.id()).into_iter();
        peak = peak.max(all.map(peak_of).sum::<u64>());
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(status.success());
    assert!(peak > 0, "nothing was seen");
    peak
}

#[test]
fn forty_thousand_files() {
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[("Dockerfile", "FROM scratch\nCOPY files /files\n")],
    );
    write_files(&context.join("files"), 400, 10 * 1024);
    let output = format!("type=oci,dest={}", env.out("image.tar").display());
    for round in ["first", "second"] {
        let peak = peak_of_build(&env, &context, &["-o", &output]);
        assert!(peak < LIMIT, "the {round} build took {peak} bytes");
    }
}

/// From a context into a layer, and from there into another.
const COPIES: &str = "\
FROM scratch AS first
COPY files /files
FROM first
COPY --from=first /files /again
";

#[test]
fn each_file_takes_little() {
    let env = TestEnv::new();
    let peaks = [("few", 20), ("many", 600)].map(|(name, n_folders)| {
        let context = env.context(name, &[("Dockerfile", COPIES)]);
        write_files(&context.join("files"), n_folders, 8);
        ["first", "second"].map(|_round| peak_of_build(&env, &context, &[]))
    });
    let [few, many] = peaks;
    for (few, many) in few.into_iter().zip(many) {
        let of_a_file = many.saturating_sub(few) / 58_000;
        assert!(many < LIMIT, "60,000 files took {many} bytes");
        assert!(
            of_a_file < LIMIT_OF_A_FILE,
            "each file took {of_a_file} bytes: {few} bytes of 2,000, {many} of 60,000"
        );
    }
}
