//! Asks a `docker-credential-*` program.
//!
//! Protocol: <https://github.com/docker/docker-credential-helpers#development>.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use crate::credentials::Login;
use crate::error::RegistryError;
use crate::secret::{Secret, presentable};

/// The words of a helper that has nothing stored.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// A user name that says: the secret is an identity token.
const TOKEN_USER: &str = "<token>";
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// A helper may leave children that keep its stdout open: look whether it has ended this often.
const POLL: Duration = Duration::from_millis(100);

/// Where helpers lie and how long they may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HelperSearch<'a> {
    /// Folders, in the form of `PATH`.
    pub(crate) path: Option<&'a OsStr>,
    /// Longest run.
    pub(crate) timeout: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Returns what `docker-credential-<name>` has for `server`, `None` if it has nothing.
///
/// # Errors
/// [`RegistryError::CredentialHelper`] if the program is missing, fails, or answers rubbish.
pub(crate) fn get(
    name: &str,
    server: &str,
    search: &HelperSearch<'_>,
) -> Result<Option<Login>, RegistryError> {
    let helper = Helper { name, server };
    let Some(stdout) = helper.ask("get", server, search)? else {
        return Ok(None);
    };
    // serde_json's error could quote the secret.
    let answer: Answer = serde_json::from_slice(&stdout)
        .map_err(|_error| helper.failed("its answer is not the expected JSON"))?;
    if answer.username.is_empty() && answer.secret.is_empty() {
        return Ok(None);
    }
    let secret = Secret::new(answer.secret);
    Ok(Some(if answer.username == TOKEN_USER {
        Login::Identity {
            user: String::new(),
            token: secret,
        }
    } else {
        Login::Basic {
            user: answer.username,
            password: secret,
        }
    }))
}

/// Gives `login` to `docker-credential-<name>` to keep for `server`.
///
/// # Errors
/// As for [`get`].
pub(crate) fn store(
    name: &str,
    server: &str,
    login: &Login,
    search: &HelperSearch<'_>,
) -> Result<(), RegistryError> {
    let (user, secret) = match login {
        Login::Basic { user, password } => (user.as_str(), password),
        Login::Identity { token, .. } | Login::Registry { token } => (TOKEN_USER, token),
    };
    let entry = serde_json::json!({
        "ServerURL": server, "Username": user, "Secret": secret.reveal(),
    });
    let helper = Helper { name, server };
    helper.ask("store", &entry.to_string(), search).map(drop)
}

/// Has `docker-credential-<name>` forget what it has for `server`, if anything.
///
/// # Errors
/// As for [`get`].
pub(crate) fn erase(
    name: &str,
    server: &str,
    search: &HelperSearch<'_>,
) -> Result<(), RegistryError> {
    let helper = Helper { name, server };
    helper.ask("erase", server, search).map(drop)
}

/// A helper and whom it is asked about.
struct Helper<'a> {
    name: &'a str,
    server: &'a str,
}

impl Helper<'_> {
    /// Returns what the helper answers, `None` if it has nothing.
    fn ask(
        &self,
        action: &str,
        input: &str,
        search: &HelperSearch<'_>,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        if self.name.contains('/') {
            return Err(self.failed("its name has a slash"));
        }
        let program = locate(&self.program(), search.path)
            .ok_or_else(|| self.failed("no such program in the search path"))?;
        let (status, stdout) = run(&program, action, input, search.timeout)
            .map_err(|problem| self.failed(&problem))?;
        if status.success() {
            return Ok(Some(stdout));
        }
        let text = String::from_utf8_lossy(&stdout);
        if text.trim() == NOT_FOUND {
            return Ok(None);
        }
        // Its stdout is an error text here, but it is a helper for secrets: show it cautiously.
        let said = presentable(&text, &[]);
        Err(self.failed(&format!("{status}: {said}")))
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    fn failed(&self, problem: &str) -> RegistryError {
        RegistryError::CredentialHelper {
            helper: self.program(),
            server: self.server.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

fn locate(helper: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(helper))
        .find(|program| fs_err::metadata(program).is_ok_and(|found| found.is_file()))
}

fn run(
    program: &PathBuf,
    action: &str,
    input: &str,
    timeout: Duration,
) -> Result<(ExitStatus, Vec<u8>), String> {
    let mut child = Command::new(program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let outcome = converse(&mut child, input, Instant::now() + timeout);
    if outcome.is_err() {
        // It may have ended by itself in the meantime.
        drop(child.kill());
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    outcome.map(|stdout| (status, stdout))
}

/// Writes the input and reads until the helper ends or closes its output.
fn converse(child: &mut Child, input: &str, deadline: Instant) -> Result<Vec<u8>, String> {
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read is none the worse for it.
        drop(stdin.write_all(input.as_bytes()));
    }
    let Some(mut stdout) = child.stdout.take() else {
        return Ok(Vec::new());
    };
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let mut has_ended = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("does not end".into());
        }
        let pause = if has_ended {
            Duration::ZERO
        } else {
            left.min(POLL)
        };
        if is_readable(&stdout, pause)? {
            let count = stdout
                .read(&mut buffer)
                .map_err(|error| error.to_string())?;
            if count == 0 {
                return Ok(answer);
            }
            answer.extend_from_slice(&buffer[..count]);
            if answer.len() > MAX_ANSWER_BYTES {
                return Err("its answer is too long".into());
            }
        } else if has_ended {
            return Ok(answer);
        } else {
            has_ended = child
                .try_wait()
                .map_err(|error| error.to_string())?
                .is_some();
        }
    }
}

fn is_readable(stdout: &std::process::ChildStdout, pause: Duration) -> Result<bool, String> {
    let pause = Timespec::try_from(pause).map_err(|error| error.to_string())?;
    let mut watched = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
    match poll(&mut watched, Some(&pause)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// A program cannot be run while another thread's fork still holds it open for writing.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn check(script: &str, expected: &str) {
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("docker-credential-test");
        fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let search = HelperSearch {
            path: Some(folder.path().as_os_str()),
            timeout: Duration::from_secs(if script.contains("sleep 100") { 1 } else { 20 }),
        };
        let shown = match get("test", "https://h/v1/", &search) {
            Ok(None) => "-".into(),
            Ok(Some(Login::Basic { user, password })) => format!("{user}:{}", password.reveal()),
            Ok(Some(Login::Identity { token, .. })) => format!("identity {}", token.reveal()),
            Ok(Some(Login::Registry { .. })) => "registry".into(),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{script}");
    }

    #[test]
    fn answers() {
        check(
            r#"read s; echo "{\"ServerURL\":\"$s\",\"Username\":\"$1 $s\",\"Secret\":\"p\"}""#,
            "get https://h/v1/:p",
        );
        check(
            r#"echo '{"Username":"<token>","Secret":"t"}'"#,
            "identity t",
        );
        check(r#"echo '{"Username":"","Secret":""}'"#, "-");
        check("echo credentials not found in native keychain; exit 1", "-");
    }

    #[test]
    fn failures() {
        let name = "credential helper docker-credential-test for https://h/v1/";
        check(
            "echo broken; exit 3",
            &format!("{name}: exit status: 3: broken"),
        );
        check(
            "echo hunter2",
            &format!("{name}: its answer is not the expected JSON"),
        );
        check("exec sleep 100", &format!("{name}: does not end"));
        let search = HelperSearch {
            path: Some(OsStr::new("/nonexistent")),
            timeout: Duration::from_secs(1),
        };
        let error = get("none", "h", &search).unwrap_err().to_string();
        assert!(error.contains("docker-credential-none"), "{error}");
        assert!(get("../x", "h", &search).is_err());
    }

    #[test]
    fn what_is_stored_and_erased() {
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("docker-credential-test");
        let log = folder.path().join("log");
        let script = format!("#!/bin/sh\necho \"$1 $(cat)\" >> {}\n", log.display());
        fs_err::write(&program, script).unwrap();
        fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let search = HelperSearch {
            path: Some(folder.path().as_os_str()),
            timeout: Duration::from_secs(20),
        };
        let login = Login::Basic {
            user: "me".into(),
            password: Secret::new("a\"b"),
        };
        store("test", "h", &login, &search).unwrap();
        erase("test", "h", &search).unwrap();
        let expected =
            "store {\"ServerURL\":\"h\",\"Username\":\"me\",\"Secret\":\"a\\\"b\"}\nerase h\n";
        assert_eq!(fs_err::read_to_string(log).unwrap(), expected);
        assert!(store("none", "h", &login, &search).is_err());
    }

    #[test]
    fn a_child_that_keeps_the_pipe_does_not_block() {
        check(r#"sleep 5 & echo '{"Username":"u","Secret":"p"}'"#, "u:p");
    }
}
