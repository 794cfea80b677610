//! What a build may leave behind when it is ended: mounts, processes, temporary files.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a child.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    // A child that ended by itself cannot be signalled; the test sees that elsewhere.
    kill_process(pid, signal).unwrap_or_default();
}

/// Waits until `done` says so. Fails after a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Mounts below a folder, in the mount namespace of every process that can be looked into.
pub(crate) fn mounts_below(dir: &Path) -> Vec<String> {
    let dir = format!("{}/", dir.display());
    let mut found = Vec::new();
    for pid in pids() {
        let mounts = fs_err::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&dir))
                .map(|line| format!("{pid}: {line}")),
        );
    }
    found
}

/// Processes whose command line or environment names a text, other than this one.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let own = std::process::id();
    pids()
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let read = |file: &str| {
                let bytes = fs_err::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let (command, environment) = (read("cmdline"), read("environ"));
            // A janitor is told the folder by pipe; a zombie has no command line.
            (command.contains(text) || environment.contains(text))
                .then(|| format!("{pid}: {command}"))
        })
        .collect()
}

fn pids() -> impl Iterator<Item = u32> {
    fs_err::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Files in a store's staging folder.
pub(crate) fn staging(store: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(store.join("tmp")) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Asserts that no process and no mount speaks of a folder any more, and that staging is empty.
#[track_caller]
pub(crate) fn assert_nothing_left(dir: &Path, store: &Path) {
    let text = dir.to_str().unwrap();
    // The kernel takes a namespace apart after the last process in it is gone.
    let start = Instant::now();
    loop {
        let left = [processes_with(text), mounts_below(dir), staging(store)].concat();
        if left.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "left behind: {left:#?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
