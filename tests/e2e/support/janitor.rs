//! Cleans up after the whole test process, however it ends.
//!
//! The test harness leaves through `exit`, so nothing static is ever dropped. A shell that waits
//! for the end of a pipe does it instead: the pipe closes when this process is gone.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads what to do line by line; does it at the end of input.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=
while read -r kind value; do
  case $kind in
    pid) pids="$pids $value" ;;
    dir) set -- "$@" "$value" ;;
  esac
done
for pid in $pids; do kill "$pid" 2>/dev/null; done
for pid in $pids; do
  tries=0
  while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
done
for dir in "$@"; do
  awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r |
    while read -r mount; do umount -l "$mount"; done
  rm -rf -- "$dir"
done
"#;

/// Returns a folder that lives as long as this process. Everybody may read it.
pub(crate) fn scratch() -> PathBuf {
    let dir = tempfile::Builder::new()
        .prefix("rbuild-test-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap()
        .keep();
    tell(&format!("dir {}", dir.display()));
    dir
}

/// Removes a folder when this process ends, should it still be there.
pub(crate) fn remove_with_process(dir: &Path) {
    tell(&format!("dir {}", dir.display()));
}

/// Ends a server when this process ends.
pub(crate) fn keep(server: Child) {
    static SERVERS: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    tell(&format!("pid {}", server.id()));
    SERVERS.lock().unwrap().push(server);
}

fn tell(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        let mut shell = Command::new("setsid");
        shell
            .args(["sh", "-c", SCRIPT, "janitor"])
            .stdin(Stdio::piped());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        Mutex::new(shell.spawn().unwrap().stdin.take().unwrap())
    });
    writeln!(pipe.lock().unwrap(), "{line}").unwrap();
}
