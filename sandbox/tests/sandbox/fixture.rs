//! Directories, users and the building process for one case.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// How a case ended, unless it panicked.
pub(crate) enum Done {
    Passed,
    Skipped(&'static str),
}

/// Who the building process is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// This process's user.
    Me,
    /// Root without `CAP_SYS_ADMIN`.
    WeakRoot,
    /// Root of a user namespace that maps one id, made by this ordinary user.
    Nested(u32, u32),
    /// An ordinary user: uid and gid.
    User(u32, u32),
}

/// What came of a step.
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The lines of the building process's report.
    pub(crate) result: String,
}

/// The directories of one build.
pub(crate) struct Fixture {
    dir: TempDir,
    who: Who,
}

pub(crate) const TEST_USER: &str = "rbuild-test";

impl Fixture {
    pub(crate) fn new(who: Who) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rbuild-sandbox-")
            .tempdir()
            .unwrap();
        let base = dir.path();
        fs_err::set_permissions(base, PermissionsExt::from_mode(0o755)).unwrap();
        for name in [
            "lower/bin",
            "lower/etc",
            "lower/tmp",
            "lower/root",
            "stub",
            "upper",
            "work",
        ] {
            fs_err::create_dir_all(base.join(name)).unwrap();
        }
        fs_err::copy("/bin/busybox", base.join("lower/bin/busybox")).unwrap();
        for name in APPLETS {
            std::os::unix::fs::symlink("busybox", base.join("lower/bin").join(name)).unwrap();
        }
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/tmp:/bin/sh\n";
        fs_err::write(base.join("lower/etc/passwd"), passwd).unwrap();
        fs_err::write(base.join("lower/etc/hosts"), "from the image\n").unwrap();
        let mode = PermissionsExt::from_mode(0o1777);
        fs_err::set_permissions(base.join("lower/tmp"), mode).unwrap();
        // Under cargo's own folder other users might not reach it.
        fs_err::copy(std::env::current_exe().unwrap(), base.join("program")).unwrap();
        if let Who::User(uid, gid) | Who::Nested(uid, gid) = who {
            let owner = format!("{uid}:{gid}");
            let status = Command::new("chown")
                .args(["-R", &owner])
                .arg(base)
                .status()
                .unwrap();
            assert!(status.success());
        }
        Self { dir, who }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The names in the upper directory, with `/` between levels, sorted.
    pub(crate) fn upper(&self) -> Vec<String> {
        let upper = self.path("upper");
        let mut names = Vec::new();
        walk(&upper, &upper, &mut names);
        names.sort();
        names
    }

    /// Runs a step; `options` as in `builder`.
    pub(crate) fn run(&self, isolation: &str, options: &[&str], argv: &[&str]) -> Outcome {
        let output = self
            .start(isolation, options, argv)
            .wait_with_output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        let result = fs_err::read_to_string(self.path("result")).unwrap();
        assert!(!mentioned_in_mounts(self.dir.path()), "a mount is left");
        Outcome {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr,
            result,
        }
    }

    /// Runs a shell script as a step.
    pub(crate) fn sh(&self, isolation: &str, options: &[&str], script: &str) -> Outcome {
        self.run(isolation, options, &["/bin/sh", "-c", script])
    }

    /// Starts the building process and leaves it alone.
    pub(crate) fn start(&self, isolation: &str, options: &[&str], argv: &[&str]) -> Child {
        let program = self.path("program");
        let mut command = match self.who {
            Who::WeakRoot => {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]);
                command.arg(program);
                command
            }
            Who::Nested(..) => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-root-user"]).arg(program);
                command
            }
            Who::Me | Who::User(..) => Command::new(program),
        };
        if let Who::User(uid, gid) | Who::Nested(uid, gid) = self.who {
            command.uid(uid).gid(gid);
        }
        command
            .arg("as-builder")
            .arg(self.dir.path())
            .arg(isolation)
            .args(options);
        command.arg("--").args(argv);
        // The step must see nothing of these.
        command
            .env("HOST_SECRET", "s3cret")
            .current_dir("/")
            .stdin(Stdio::null());
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !is_root() {
            let mut cleaner = Command::new(self.path("program"));
            drop(cleaner.arg("as-cleaner").arg(self.dir.path()).status()); // leaves files in /tmp at worst
        }
    }
}

impl Outcome {
    /// Asserts the exit, and returns the output without the last newline.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        self.exited("Code(0)");
        self.stdout.trim_end_matches('\n')
    }

    #[track_caller]
    pub(crate) fn exited(&self, exit: &str) {
        let line = format!("exit {exit}");
        let Self {
            stdout,
            stderr,
            result,
        } = self;
        assert!(
            result.lines().any(|found| found == line),
            "wanted {line}\n{result}out: {stdout}\nerr: {stderr}"
        );
    }

    #[track_caller]
    pub(crate) fn reports(&self, text: &str) {
        assert!(
            self.result.contains(text),
            "wanted {text}\n{}err: {}",
            self.result,
            self.stderr
        );
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The ordinary user for tests, made if need be; subordinate ids come with it.
pub(crate) fn test_user() -> Who {
    if !is_root() {
        return Who::Me;
    }
    let id = |option: &str| {
        let output = Command::new("id")
            .args([option, TEST_USER])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse::<u32>()
            .ok()
    };
    if id("-u").is_none() {
        let made = Command::new("useradd")
            .args(["--no-create-home", TEST_USER])
            .status()
            .unwrap();
        assert!(made.success(), "useradd");
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs_err::read_to_string(file).unwrap_or_default();
        if !text
            .lines()
            .any(|line| line.starts_with(&format!("{TEST_USER}:")))
        {
            let text = format!("{text}{TEST_USER}:1500000000:65536\n");
            fs_err::write(file, text).unwrap();
        }
    }
    Who::User(id("-u").unwrap(), id("-g").unwrap())
}

pub(crate) fn has_program(name: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join(name).is_file())
}

/// Process ids of the machine whose command line contains the text.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // The shells that were asked to start it have it in a longer line.
        if line.trim_end().ends_with(text) && !line.contains("as-builder") {
            found.push(pid);
        }
    }
    found
}

fn mentioned_in_mounts(path: &Path) -> bool {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.contains(path.to_str().unwrap())
}

fn walk(base: &Path, directory: &Path, names: &mut Vec<String>) {
    for entry in fs_err::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.strip_prefix(base).unwrap().display().to_string());
        if fs_err::symlink_metadata(&path).unwrap().is_dir() {
            walk(base, &path, names);
        }
    }
}

const APPLETS: [&str; 47] = [
    "awk", "basename", "cat", "chmod", "chown", "cut", "date", "dd", "df", "echo", "env", "false",
    "grep", "head", "hostname", "id", "ifconfig", "ip", "kill", "ln", "ls", "md5sum", "mkdir",
    "mknod", "mount", "mv", "printf", "ps", "pwd", "readlink", "rm", "rmdir", "sed", "seq",
    "setsid", "sh", "sleep", "sort", "stat", "su", "tail", "test", "touch", "tr", "true", "umount",
    "wc",
];
