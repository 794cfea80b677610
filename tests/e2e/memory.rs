//! Memory does not grow with what is built.

use std::path::Path;
use std::process::Stdio;

use crate::support::TestEnv;

/// Most resident memory of a build's processes together, in KiB.
const LIMIT_KIB: u64 = 150 * 1024;

/// 40,000 files of 10 KiB in 400 folders, none like another.
fn write_files(dir: &Path) {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let mut bytes: Vec<u8> = noise.take(10 * 1024).collect();
    for folder in 0..400_u32 {
        let path = dir.join(format!("{folder:03}"));
        fs_err::create_dir_all(&path).unwrap();
        for file in 0..100_u32 {
            bytes[..4].copy_from_slice(&(folder * 100 + file).to_le_bytes());
            fs_err::write(path.join(format!("{file:02}")), &bytes).unwrap();
        }
    }
}

/// Highest resident memory of a process so far.
fn peak_kib(pid: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
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

#[test]
fn forty_thousand_files() {
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[("Dockerfile", "FROM scratch\nCOPY files /files\n")],
    );
    write_files(&context.join("files"));
    let tar = env.out("image.tar");
    for round in ["first", "second"] {
        let mut child = env
            .command()
            .args([
                "build",
                "-q",
                "-o",
                &format!("type=oci,dest={}", tar.display()),
            ])
            .arg(&context)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0;
        let status = loop {
            peak = peak.max(family(child.id()).into_iter().map(peak_kib).sum::<u64>());
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        assert!(status.success());
        assert!(
            peak > 0 && peak < LIMIT_KIB,
            "the {round} build took {peak} KiB"
        );
    }
}
