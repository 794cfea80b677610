//! A program that does what hostile steps do, by system calls.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::{find, janitor, repository};

/// Builds the probe, a static program; `None` without a C compiler and library.
pub(crate) fn probe() -> Option<&'static PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let program = janitor::scratch().join("probe");
        let output = Command::new(find("cc")?)
            .args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg(repository().join("tests/e2e/support/probe.c"))
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        // Without a static C library there is no probe; mistakes in it are mistakes.
        assert!(!complaint.contains("probe.c:"), "{complaint}");
        output.status.success().then_some(program)
    };
    BUILT.get_or_init(build).as_ref()
}
