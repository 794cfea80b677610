//! Pulling from a real registry; logging in and out.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;

use crate::support::image::sha256;
use crate::support::registry::{Door, Registry};
use crate::support::run::Run;
use crate::support::{TestEnv, bases, have, need, peers};

const NEEDS: &str = "this needs docker-registry, skopeo, busybox-static (and htpasswd)";

fn digest_of(name: &str) -> String {
    let source = format!("docker://{name}");
    let run = peers::skopeo(&["inspect", "--tls-verify=false", "--raw", &source]);
    sha256(run.stdout.as_bytes())
}

#[test]
fn an_image_is_pulled_once() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    registry.push_rootfs(
        bases::busybox().unwrap(),
        "team/app:1.0",
        &["--format=v2s2"],
    );
    let name = format!("{}/team/app:1.0", registry.address);
    let digest = digest_of(&name);
    let mut env = TestEnv::new();
    let run = env.rbuild(["pull", &name]).ok();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "1.0: Pulling from team/app");
    let (id, status) = lines[1].split_once(": ").unwrap();
    assert!(
        id.len() == 12 && status == "Pulling fs layer",
        "{}",
        run.report()
    );
    assert_eq!(lines[2], format!("{id}: Download complete"));
    assert_eq!(lines[3], format!("{id}: Pull complete"));
    assert_eq!(lines[4], format!("Digest: {digest}"));
    assert_eq!(
        lines[5],
        format!("Status: Downloaded newer image for {name}")
    );
    assert_eq!(lines[6], name);
    assert_eq!(lines.len(), 7, "{}", run.report());

    let before = registry.requests().len();
    let run = env.rbuild(["pull", &name]).ok();
    let expected = format!(
        "1.0: Pulling from team/app\nDigest: {digest}\nStatus: Image is up to date for {name}\n{name}\n"
    );
    assert_eq!(run.stdout, expected);
    let asked = registry.requests().split_off(before);
    assert!(
        asked.iter().all(|request| request.starts_with("HEAD")),
        "{asked:?}"
    );
    assert_eq!(
        env.rbuild(["pull", "-q", &name]).ok().stdout,
        format!("{name}\n")
    );

    // All of it is here: nobody is asked any more.
    let inspected = env.rbuild(["inspect", &name]).ok().stdout;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let by_digest = format!("{}/team/app@{digest}", registry.address);
    assert_eq!(inspected[0]["RepoDigests"], serde_json::json!([by_digest]));
    let removed = env.rbuild(["rmi", &name]).ok().stdout;
    assert!(
        removed.contains(&format!(
            "Untagged: {by_digest}
"
        )),
        "{removed}"
    );
    let pulled = env.rbuild(["pull", &by_digest]).ok().stdout;
    assert!(pulled.contains(": Already exists\n"), "{pulled}");
    assert!(
        pulled.contains("Status: Downloaded newer image for"),
        "{pulled}"
    );
    env.cut_off();
    assert!(env.image(&by_digest).has("bin/busybox"));
}

#[test]
fn one_platform_of_an_index() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let name = format!("{}/team/many", registry.address);
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[(
            "Dockerfile",
            "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n",
        )],
    );
    env.build(
        &context,
        &["--platform=linux/amd64,linux/arm64", "-t", &name],
    );
    env.rbuild(["push", &name]).ok();
    let index = digest_of(&name);

    let other = TestEnv::new();
    let run = other.rbuild(["pull", "--platform=linux/arm64", &name]).ok();
    assert!(
        run.stdout
            .starts_with("Using default tag: latest\nlatest: Pulling from team/many\n")
    );
    assert!(
        run.stdout.contains(&format!("\nDigest: {index}\n")),
        "{}",
        run.report()
    );
    let image = other.image(&name);
    assert!(image.has("arm64") && !image.has("amd64"));
    other
        .rbuild(["pull", "--platform=linux/s390x", &name])
        .fails(1)
        .says("linux/s390x");
    // Both are there after both were pulled, and the index can go on as it is.
    other.rbuild(["pull", "--platform=linux/amd64", &name]).ok();
    let copy = format!("{}/team/copy:1", registry.address);
    other.rbuild(["tag", &name, &copy]).ok();
    other.rbuild(["push", &copy]).ok();
    assert_eq!(digest_of(&copy), index);
    // With one of them, what is there is pushed, and that is said.
    let half = TestEnv::new();
    half.rbuild(["pull", "--platform=linux/arm64", &name]).ok();
    half.rbuild(["tag", &name, &copy]).ok();
    let run = half.rbuild(["push", &copy]).ok();
    assert!(run.stderr.contains("not all platforms"), "{}", run.report());
    assert_ne!(digest_of(&copy), index);
}

#[test]
fn all_tags_and_wrong_names() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    for tag in ["1", "2"] {
        registry.push_rootfs(bases::busybox().unwrap(), &format!("team/tags:{tag}"), &[]);
    }
    let name = format!("{}/team/tags", registry.address);
    let env = TestEnv::new();
    let run = env.rbuild(["pull", "-a", &name]).ok();
    for tag in ["1", "2"] {
        assert!(
            run.stdout
                .contains(&format!("{tag}: Pulling from team/tags\n"))
        );
        env.rbuild(["inspect", &format!("{name}:{tag}")]).ok();
    }
    assert!(run.stdout.ends_with(&format!(
        "Status: Downloaded newer image for {name}\n{name}\n"
    )));
    env.rbuild(["pull", "-a", &format!("{name}:1")])
        .fails(1)
        .says("tag can't be used with --all-tags/-a");
    env.rbuild(["pull", &format!("{name}:3")])
        .fails(1)
        .says("MANIFEST_UNKNOWN");
    env.rbuild(["pull", "team/Upper"])
        .fails(1)
        .says("must be lowercase");
    // A moved tag moves here, too.
    let context = env.context(
        "ctx",
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /moved\n")],
    );
    let other = TestEnv::new();
    other.build(&context, &["-t", &format!("{name}:1")]);
    other.rbuild(["push", &format!("{name}:1")]).ok();
    let pulled = env.rbuild(["pull", &format!("{name}:1")]).ok().stdout;
    assert!(
        pulled.contains("Status: Downloaded newer image"),
        "{pulled}"
    );
    assert!(env.image(&format!("{name}:1")).has("moved"));
}

/// What the others push is pulled, and what is pushed here is pulled by them.
#[test]
fn with_buildah() {
    need!(
        have("buildah") && Registry::shared().is_some(),
        "{NEEDS}, and buildah"
    );
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let buildah = |args: &[&str]| {
        let mut command = std::process::Command::new("buildah");
        command
            .args(["--storage-driver=vfs", "--root"])
            .arg(env.path("buildah"));
        command
            .arg("--runroot")
            .arg(env.path("buildah-run"))
            .args(args);
        Run::of(&mut command).ok()
    };
    let name = |rest: &str| format!("{}/{rest}", registry.address);
    let file = env.context(
        "ctx",
        &[
            ("a", "by buildah\n"),
            ("Dockerfile", "FROM scratch\nCOPY a /\n"),
        ],
    );
    for format in ["oci", "docker"] {
        let ours = name(&format!("ours/{format}:1"));
        let theirs = name(&format!("theirs/{format}:1"));
        let container = buildah(&["from", "scratch"]);
        let container = container.out();
        buildah(&["copy", container, file.join("a").to_str().unwrap(), "/a"]);
        buildah(&["commit", "--format", format, container, &theirs]);
        buildah(&[
            "push",
            "--tls-verify=false",
            &theirs,
            &format!("docker://{theirs}"),
        ]);
        env.rbuild(["pull", &theirs]).ok();
        assert_eq!(env.image(&theirs).text("a"), "by buildah\n");
        env.rbuild(["tag", &theirs, &ours]).ok();
        env.rbuild(["push", &ours]).ok();
        assert_eq!(digest_of(&ours), digest_of(&theirs), "{format}");
    }
    let built = name("ours/built:1");
    env.build(&file, &["-t", &built]);
    env.rbuild(["push", &built]).ok();
    buildah(&["pull", "--tls-verify=false", &format!("docker://{built}")]);
}

/// Runs the program with `input` on its standard input.
fn with_input(env: &TestEnv, args: &[&str], input: &str) -> (bool, String, String) {
    let mut command = env.command();
    command.args(args).stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn logging_in_and_out() {
    need!(have("htpasswd") && Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::with_password("ada", "secret words");
    let host = registry.address.as_str();
    let login = "--dest-creds=ada:secret words";
    registry.push_rootfs(bases::busybox().unwrap(), "private/bb:1", &[login]);
    let name = format!("{host}/private/bb:1");
    let env = TestEnv::new();
    let config = env.path("home/.docker/config.json");
    env.rbuild(["pull", &name]).fails(1).says("no credentials");

    let log_in = ["login", "-u", "ada", "--password-stdin", host];
    let (is_ok, _, stderr) = with_input(&env, &log_in, "wrong words");
    let expected =
        format!("login attempt to http://{host}/v2/ failed with status: 401 Unauthorized");
    assert!(!is_ok && stderr.contains(&expected), "{stderr}");
    assert!(
        !stderr.contains("wrong words") && !config.exists(),
        "{stderr}"
    );

    let (is_ok, stdout, stderr) = with_input(&env, &log_in, "secret words\n");
    assert!(is_ok && stdout == "Login Succeeded\n", "{stdout}{stderr}");
    let warning = format!(
        "WARNING! Your credentials are stored unencrypted in '{}'.\n",
        config.display()
    );
    assert!(stderr.contains(&warning), "{stderr}");
    let mode = fs_err::metadata(&config).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let json: Value = serde_json::from_slice(&fs_err::read(&config).unwrap()).unwrap();
    assert_eq!(json["auths"][host]["auth"], "YWRhOnNlY3JldCB3b3Jkcw==");
    env.rbuild(["pull", &name]).ok();
    let again = env.rbuild(["login", host]).ok();
    assert_eq!(
        again.stdout,
        "Authenticating with existing credentials... [Username: ada]\n\n\
         i Info → To login with a different account, run 'rbuild logout' followed by 'rbuild login'\
         \n\n\nLogin Succeeded\n"
    );

    let expected = format!("Removing login credentials for {host}\n");
    for _ in 0..2 {
        assert_eq!(env.rbuild(["logout", host]).ok().stdout, expected);
    }
    env.rbuild(["pull", &format!("{host}/private/bb:2")])
        .fails(1)
        .says("no credentials");
    assert_eq!(
        env.rbuild(["logout"]).ok().stdout,
        "Removing login credentials for https://index.docker.io/v1/\n"
    );
}

#[test]
fn wrong_ways_to_log_in() {
    let env = TestEnv::new();
    let says = |args: &[&str], expected: &str| {
        let (is_ok, _, stderr) = with_input(&env, args, "");
        assert!(!is_ok && stderr.contains(expected), "{args:?}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    };
    says(
        &["login", "127.0.0.1:1"],
        "Cannot perform an interactive login from a non TTY device",
    );
    says(
        &["login", "--password-stdin", "127.0.0.1:1"],
        "the --password-stdin option requires --username to be set",
    );
    says(
        &[
            "login",
            "-u",
            "a",
            "-p",
            "hunter2",
            "--password-stdin",
            "127.0.0.1:1",
        ],
        "conflicting options: cannot specify both --password and --password-stdin",
    );
    says(
        &["login", "-u", "a", "-p", "hunter2", "127.0.0.1:1"],
        "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
    );
    says(
        &["login", "-u", "a", "--password-stdin", "127.0.0.1:1"],
        "Password Required",
    );
    says(
        &["login", "-u", "a", "-p", "x", "no host"],
        "not a host name",
    );
}

#[test]
fn a_credential_helper_keeps_what_is_logged_in() {
    need!(have("htpasswd") && Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::with_password("ada", "secret words");
    let host = registry.address.as_str();
    let env = TestEnv::new();
    let (bin, kept) = (env.path("bin"), env.path("out/kept"));
    fs_err::create_dir_all(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nk={}\ncase $1 in\nstore) cat > $k ;;\nerase) rm -f $k ;;\n\
         get) [ -e $k ] && exec cat $k; echo credentials not found in native keychain; exit 1 ;;\nesac\n",
        kept.display()
    );
    fs_err::write(&helper, script).unwrap();
    fs_err::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    let folder = env.path("home/.docker");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(
        folder.join("config.json"),
        r#"{"credsStore":"test","other":[1]}"#,
    )
    .unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let run = |args: &[&str]| Run::of(env.command().env("PATH", &path).args(args));
    let login = run(&["login", "-u", "ada", "-p", "secret words", host]).ok();
    assert!(!login.stderr.contains("unencrypted"), "{}", login.report());
    assert!(
        fs_err::read_to_string(&kept)
            .unwrap()
            .contains("secret words")
    );
    let config = || fs_err::read_to_string(folder.join("config.json")).unwrap();
    assert!(
        !config().contains("auth\"") && config().contains("other"),
        "{}",
        config()
    );
    run(&["login", host]).ok();
    run(&["logout", host]).ok();
    assert!(!kept.exists() && !config().contains(host));
}
