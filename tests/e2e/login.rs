//! Logging in by hand: what is asked on a terminal, and what helpers that keep passwords say.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::{TestEnv, have, need};

const NEEDS: &str = "this needs docker-registry, skopeo, busybox-static, htpasswd and script";

/// How long a prompt may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell command on a terminal of its own.
struct Terminal {
    child: Child,
    typed: ChildStdin,
    shown: Receiver<Vec<u8>>,
    /// All that was shown.
    text: String,
    /// How much of it was waited for.
    seen: usize,
}

impl Terminal {
    /// Runs a line of shell, in which `rbuild` is the program.
    fn run(env: &TestEnv, line: &str) -> Self {
        let rbuild = env.command();
        let program = rbuild.get_program().to_str().unwrap();
        let line = line.replace("rbuild", program);
        let mut command = Command::new("script");
        command.env_clear();
        command.args(["-qefc", &line, "/dev/null"]);
        for (name, value) in rbuild.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("SHELL", "/bin/sh");
        command.current_dir(env.path("out"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(n @ 1..) = output.read(&mut piece) {
                if send.send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            typed: child.stdin.take().unwrap(),
            child,
            shown,
            text: String::new(),
            seen: 0,
        }
    }

    /// Waits until `text` is shown.
    #[track_caller]
    fn expect(&mut self, text: &str) -> &mut Self {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.text[self.seen..].find(text) {
                self.seen += place + text.len();
                return self;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("{text:?} is not shown: {:?}", self.text),
            }
        }
    }

    fn write(&mut self, text: &str) -> &mut Self {
        // The prompt stands there before what is typed is hidden or shown as it should be.
        std::thread::sleep(Duration::from_millis(300));
        self.typed.write_all(text.as_bytes()).unwrap();
        self.typed.flush().unwrap();
        self
    }

    /// Waits for the end; returns the exit status and all that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        while let Ok(piece) = self.shown.recv_timeout(PATIENCE) {
            self.text.push_str(&String::from_utf8_lossy(&piece));
        }
        drop(self.typed);
        let status = self.child.wait().unwrap();
        (status.code(), self.text.replace("\r\n", "\n"))
    }
}

#[test]
fn a_terminal_is_asked_and_shows_no_password() {
    let is_there = have("script") && have("htpasswd") && Registry::shared().is_some();
    need!(is_there, "{NEEDS}");
    let registry = Registry::with_password("ada", "secret words");
    let host = registry.address.as_str();
    let env = TestEnv::new();
    let line = format!("rbuild login {host}");
    let config = env.path("home/.docker/config.json");
    let unencrypted = format!(
        "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper \
         to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\nLogin Succeeded\n",
        config.display()
    );

    let mut terminal = Terminal::run(&env, &line);
    terminal.expect("Username: ").write(" ada \n");
    terminal.expect("Password: ").write("secret words\n");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text, format!("Username:  ada \nPassword: \n{unencrypted}"));

    // What is known is tried first; its user need not be typed again.
    let known = format!(r#"{{"auths": {{"{host}": {{"auth": "YWRhOndyb25n"}}}}}}"#);
    fs_err::write(&config, known).unwrap();
    let mut terminal = Terminal::run(&env, &line);
    terminal.expect("Login did not succeed, error:");
    terminal.expect("Username (ada): ").write("\n");
    terminal.expect("Password: ").write("secret words\n");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    let start = "Authenticating with existing credentials... [Username: ada]\n\ni Info → To login \
                 with a different account, run '";
    assert!(text.starts_with(start), "{text}");
    assert!(
        text.contains("401 Unauthorized") && text.ends_with(&unencrypted),
        "{text}"
    );

    env.rbuild(["logout", host]).ok();
    for (typed, expected) in [
        (&["\n"][..], "Non-null Username Required"),
        (&["ada\n", "\n"], "Password Required"),
        (
            &["ada\n", "wrong words\n"],
            "failed with status: 401 Unauthorized",
        ),
    ] {
        let mut terminal = Terminal::run(&env, &line);
        for (prompt, typed) in ["Username: ", "Password: "].iter().zip(typed) {
            terminal.expect(prompt).write(typed);
        }
        let (code, text) = terminal.end();
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(expected) && !text.contains("words"), "{text}");
    }
}

/// After Ctrl-C the terminal shows again what is typed.
#[test]
fn an_interrupted_login_leaves_the_terminal_as_it_was() {
    need!(have("script") && have("stty"), "{NEEDS}");
    let env = TestEnv::new();
    for (user, prompt) in [("", "Username: "), ("-u ada ", "Password: ")] {
        let line = format!("trap : INT; rbuild login {user}127.0.0.1:1; echo code=$?; stty -a");
        let mut terminal = Terminal::run(&env, &line);
        terminal.expect(prompt).write("\u{3}");
        let (code, text) = terminal.end();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("code=130"), "{text}");
        assert!(
            text.contains(" echo ") && !text.contains("-echo "),
            "{text}"
        );
    }
    assert!(!env.path("home/.docker/config.json").exists());
}

#[test]
fn what_helpers_say_is_told() {
    need!(have("htpasswd") && Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::with_password("ada", "secret words");
    let host = registry.address.as_str();
    let env = TestEnv::new();
    let (bin, folder) = (env.path("bin"), env.path("home/.docker"));
    fs_err::create_dir_all(&bin).unwrap();
    fs_err::create_dir_all(&folder).unwrap();
    let helper = bin.join("docker-credential-test");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let run = |args: &[&str]| Run::of(env.command().env("PATH", &path).args(args));
    let config = |store: &str| {
        let text = format!(r#"{{"credsStore": "{store}"}}"#);
        fs_err::write(folder.join("config.json"), text).unwrap();
    };
    let log_in = ["login", "-u", "ada", "-p", "secret words", host];

    config("none");
    let login = run(&log_in).fails(1).says("docker-credential-none");
    assert!(!login.stdout.contains("Succeeded"), "{}", login.report());
    let logout = run(&["logout", host]).ok();
    assert_eq!(
        logout.stdout,
        format!("Removing login credentials for {host}\n")
    );
    logout
        .says("WARNING: could not erase credentials:")
        .says("docker-credential-none");

    config("test");
    let script = "#!/bin/sh\ncat > /dev/null\n[ $1 = get ] && { echo '{'; exit 0; }\n\
                  echo 'the keychain is locked'; exit 1\n";
    fs_err::write(&helper, script).unwrap();
    fs_err::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    let login = run(&log_in).fails(1).says("the keychain is locked");
    assert!(!login.stderr.contains("secret words"), "{}", login.report());
    run(&["logout", host])
        .ok()
        .says("WARNING: could not erase credentials:")
        .says("the keychain is locked");
    // What cannot be understood is no reason to ask for nothing.
    run(&["pull", &format!("{host}/private/app:1")])
        .fails(1)
        .says("docker-credential-test");
}
