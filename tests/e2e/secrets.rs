//! Secrets and SSH keys: steps can use them, and nothing keeps them.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::mounts::environments;
use crate::support::processes::assert_nothing_left;
use crate::support::run::Run;
use crate::support::{TestEnv, bases, have, need};

const NEEDS: &str = "this needs busybox-static";

const SECRET: &str = "correct-horse-battery-staple-71077345";
const OTHER: &str = "first line of it, which is long\nsecond line: Tr0ub4dor&3 Tr0ub4dor&3\n";

fn environment() -> Option<TestEnv> {
    let env = TestEnv::new();
    env.import(bases::busybox()?, "busybox");
    Some(env)
}

/// Writes a file that only its owner may read, where the program's user can reach it.
fn secret_file(env: &TestEnv, name: &str, text: &str) -> PathBuf {
    let file = env.path("home").join(name);
    fs_err::write(&file, text).unwrap();
    fs_err::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let home = fs_err::metadata(env.path("home")).unwrap();
    let (uid, gid) = {
        use std::os::unix::fs::MetadataExt as _;
        (home.uid(), home.gid())
    };
    std::os::unix::fs::lchown(&file, Some(uid), Some(gid)).unwrap();
    file
}

/// Every form in which these values could lie about.
fn forms(values: &[&str]) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let mut forms = Vec::new();
    for value in values {
        for line in value.lines() {
            forms.push(line.as_bytes().to_vec());
        }
        // Wherever in a longer text it begins.
        for skipped in 0..3 {
            let whole = &value.as_bytes()[skipped..];
            let whole = &whole[..whole.len() / 3 * 3];
            let encoded = base64::engine::general_purpose::STANDARD.encode(whole);
            forms.push(encoded.into_bytes());
        }
    }
    forms
}

/// Fails if a file below a folder, or its name, holds one of these texts, which have no line ends.
#[track_caller]
fn assert_nowhere(dir: &Path, forms: &[Vec<u8>]) {
    let mut grep = Command::new("grep")
        .args(["-r", "-a", "-l", "-F", "-f", "-"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let patterns = forms.join(&b'\n');
    grep.stdin.take().unwrap().write_all(&patterns).unwrap();
    let found = grep.wait_with_output().unwrap();
    let names = String::from_utf8_lossy(&found.stdout);
    assert_eq!(
        (found.status.code(), &*names),
        (Some(1), ""),
        "nothing is found"
    );
    let listed = Command::new("find").arg(dir).output().unwrap().stdout;
    for form in forms {
        let found = listed.windows(form.len()).any(|window| window == form);
        assert!(!found, "a name holds {}", form.escape_ascii());
    }
}

#[test]
fn steps_see_secrets_and_nothing_keeps_them() {
    let environments = environments();
    need!(!environments.is_empty(), "{NEEDS}");
    let dockerfile = "\
FROM busybox
WORKDIR /w
RUN --mount=type=secret,id=file --mount=type=secret,id=other,target=rel/other,mode=0640,uid=12,gid=34 \
    --mount=type=secret,id=env,env=TOKEN --mount=type=secret,id=gone,env=GONE --mount=type=secret,id=gone \
    --mount=type=secret,id=file,target=/both,env=BOTH --mount=type=cache,target=/cache \
    sh -c 'set -e; sha256sum /run/secrets/file rel/other | cut -c1-64 > /sums; \
    stat -c \"%a %u:%g\" /run/secrets/file rel/other > /stats; \
    echo \"$TOKEN\" | sha256sum | cut -c1-64 >> /sums; echo \"${GONE-unset}\" > /gone; \
    cmp /both /run/secrets/file; test \"$BOTH\" = \"$(cat /both)\"; ls /run/secrets > /list; \
    ! touch /run/secrets/file; cat /both; echo $TOKEN >&2; base64 rel/other'
RUN ls -A /run /w > /left; env > /env
";
    for (who, env) in environments {
        let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
        let file = secret_file(&env, "file", SECRET);
        let other = secret_file(&env, "other", OTHER);
        let tar = env.out("image.tar");
        let mut command = env.command();
        command
            .env("THE_TOKEN", SECRET)
            .args(["build", "--progress=rawjson", "--secret"])
            .arg(format!("id=file,src={}", file.display()))
            .arg(format!("--secret=id=other,source={}", other.display()))
            .args(["--secret", "id=env,env=THE_TOKEN", "-o"])
            .arg(format!("type=oci,dest={}", tar.display()))
            .arg(&context);
        let run = Run::of(&mut command).ok();
        let said = [run.stdout.as_bytes(), run.stderr.as_bytes()].concat();
        let forms = forms(&[SECRET, OTHER]);
        for form in &forms {
            let found = said.windows(form.len()).any(|window| window == form);
            assert!(!found, "{who}: {} in {}", form.escape_ascii(), run.report());
        }
        let image = crate::support::image::Image::from_archive(&tar);
        let sums: Vec<_> = [SECRET, OTHER, &format!("{SECRET}\n")]
            .iter()
            .map(|text| crate::support::image::sha256(text.as_bytes()).replace("sha256:", ""))
            .collect();
        assert_eq!(
            image.text("sums").lines().collect::<Vec<_>>(),
            sums,
            "{who}"
        );
        let owner = if who == "a single id" { "0:0" } else { "12:34" };
        let stats = format!("400 0:0\n640 {owner}\n");
        assert_eq!(image.text("stats"), stats, "{who}");
        assert_eq!(image.text("gone"), "\n", "{who}: there and empty");
        assert_eq!(image.text("list"), "file\n", "{who}");
        assert!(!image.text("left").contains("secrets"), "{who}");
        assert!(!image.text("left").contains("rel"), "{who}");
        assert!(!image.text("env").contains("TOKEN"), "{who}");
        for name in ["run/secrets", "both", "w/rel", "cache"] {
            assert!(!image.has(name), "{who}: {name}");
        }
        fs_err::remove_file(&file).unwrap();
        fs_err::remove_file(&other).unwrap();
        assert_nowhere(&env.path(""), &forms);
        assert_nothing_left(&env.path("store"), &env.store());
    }
}

/// A secret is read when a step needs it, and never for a step that is cached.
#[test]
fn secrets_are_read_late() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox
RUN --mount=type=secret,id=a,required test -s /run/secrets/a
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let file = secret_file(&env, "a", SECRET);
    let option = format!("--secret=id=a,src={}", file.display());
    env.build(&context, &[&option]);
    // A folder cannot be read.
    let folder = format!("--secret=id=a,src={}", env.path("home").display());
    env.build(&context, &[&folder]);
    let run = env.rbuild(["build", "--no-cache", &folder, context.to_str().unwrap()]);
    run.fails(1).says("secret a");
}

#[test]
fn q7_q8_values_and_names_of_caches_are_in_no_key() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let build = |mount: &str, value: &str| {
        let dockerfile = format!(
            "FROM busybox\nRUN --mount=type=secret,id=a --mount={mount} cat /proc/sys/kernel/random/uuid > /uuid\n"
        );
        let context = env.context("ctx", &[("Dockerfile", &dockerfile)]);
        let file = secret_file(&env, "a", value);
        let option = format!("--secret=id=a,src={}", file.display());
        env.build_image(&context, &[&option])
            .text("uuid")
            .to_owned()
    };
    let first = build("type=cache,target=/c,id=a,sharing=locked", "one");
    assert_eq!(
        build("type=cache,target=/c,id=a,sharing=locked", "two"),
        first
    );
    assert_eq!(
        build("type=cache,target=/c,id=b,sharing=private", "two"),
        first
    );
    assert_ne!(
        build("type=cache,target=/d,id=b,sharing=private", "two"),
        first
    );
}

#[test]
fn secrets_that_are_missing_or_too_large() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let build = |mount: &str, args: &[&str]| {
        let dockerfile = format!("FROM busybox\nRUN --mount=type=secret,{mount} ls /run\n");
        let context = env.context("ctx", &[("Dockerfile", &dockerfile)]);
        Run::of(env.command().arg("build").args(args).arg(context))
    };
    build("id=a", &[]).ok();
    build("id=a,required", &[])
        .fails(1)
        .says("secret a: not found");
    build("id=a,required", &["--secret", "id=b,env=HOME"])
        .fails(1)
        .says("secret a: not found");
    let file = secret_file(&env, "large", &"x".repeat(500 * 1024 + 1));
    let option = format!("--secret=id=a,src={}", file.display());
    build("id=a", &[&option])
        .fails(1)
        .says("secret a too big. max size 500KB");
    build("id=a", &["--secret=id=a,src=/no/such/file"])
        .fails(1)
        .says("failed to stat /no/such/file");
    for (option, text) in [
        ("type=x,id=a", "unsupported secret type \"x\""),
        ("id=a,foo=1", "unexpected key 'foo' in 'foo=1'"),
        ("id=a,b", "invalid field 'b' must be a key=value pair"),
    ] {
        build("id=a", &["--secret", option]).fails(2).says(text);
    }
    // What cannot be a variable is not shown in the message.
    let file = secret_file(&env, "nul", &format!("{SECRET}\0"));
    let option = format!("--secret=id=nul,src={}", file.display());
    let run = build("id=nul,env=X", &[&option])
        .fails(1)
        .says("secret nul");
    assert!(!run.stderr.contains(SECRET), "{}", run.report());
}

/// Whatever a step does to its output, and in the message of its failure.
#[test]
fn values_are_masked() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox
RUN --mount=type=secret,id=a,env=A sh -c 'for c in $(echo $A | sed \"s/./& /g\"); do printf $c; sleep 0.01; done; \
    echo; echo before $A after $A; printf \"%s\" \"$A\" | base64; exit 3'
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let file = secret_file(&env, "a", SECRET);
    let option = format!("id=a,src={}", file.display());
    for mode in ["plain", "rawjson", "quiet"] {
        let progress = format!("--progress={mode}");
        let run = env.rbuild([
            "build",
            &progress,
            "--secret",
            &option,
            context.to_str().unwrap(),
        ]);
        let run = run.fails(1);
        for form in forms(&[SECRET]).iter().take(3) {
            let form = String::from_utf8_lossy(form);
            assert!(!run.stderr.contains(&*form), "{form}: {}", run.report());
        }
        if mode != "rawjson" {
            assert!(
                run.stderr.contains("before **** after ****"),
                "{}",
                run.report()
            );
        }
    }
}

/// Asks the agent for its keys, then to forget them all, then to take one.
const CLIENT: &str = r#"
use strict; use Socket;
sub ask { my ($request) = @_;
  socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; connect($s, pack_sockaddr_un($ENV{SSH_AUTH_SOCK})) or die "connect: $!";
  syswrite $s, pack("N/a", $request); my ($answer, $more) = ("", "");
  while (length($answer) < 4 || length($answer) < 4 + unpack("N", $answer)) { sysread($s, $more, 65536) or last; $answer .= $more }
  return unpack("H*", substr($answer, 4)) }
print ask("\x0b"), "\n", ask("\x13"), "\n", ask("\x11" . pack("N/a", "ssh-ed25519")), "\n";
"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keygen(env: &TestEnv, name: &str) -> (PathBuf, String) {
    let path = env.path("home").join(name);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    let text = fs_err::read_to_string(&path).unwrap();
    secret_file(env, name, &text);
    use base64::Engine as _;
    let public = fs_err::read_to_string(format!("{}.pub", path.display())).unwrap();
    let blob = public.split(' ').nth(1).unwrap();
    let blob = base64::engine::general_purpose::STANDARD
        .decode(blob)
        .unwrap();
    (path, hex(&blob))
}

#[test]
fn keys_are_lent_by_a_socket_that_only_signs() {
    let debian = bases::debian().filter(|_| have("ssh-keygen"));
    need!(debian.is_some(), "this needs mmdebstrap and openssh-client");
    let dockerfile = "\
FROM debian
COPY client.pl /client.pl
RUN --mount=type=ssh,mode=0666 --mount=type=ssh,id=second,target=/second set -e; \
    echo $SSH_AUTH_SOCK > /path; stat -c '%F %a' $SSH_AUTH_SOCK > /stat; perl /client.pl > /answers; \
    SSH_AUTH_SOCK=/second perl /client.pl > /second.answers
USER nobody
RUN --mount=type=ssh,mode=0666 perl /client.pl > /tmp/nobody
";
    for (who, env) in environments() {
        env.import(debian.unwrap(), "debian");
        let context = env.context("ctx", &[("Dockerfile", dockerfile), ("client.pl", CLIENT)]);
        let (first, first_public) = keygen(&env, "first");
        let (second, second_public) = keygen(&env, "second");
        let image = env.build_image(
            &context,
            &[
                &format!("--ssh=default={}", first.display()),
                &format!("--ssh=second={},{}", second.display(), first.display()),
            ],
        );
        assert_eq!(image.text("path"), "/run/buildkit/ssh_agent.0\n", "{who}");
        assert_eq!(image.text("stat"), "socket 666\n", "{who}");
        let check = |path: &str, publics: &[&str]| {
            let answers: Vec<_> = image.text(path).lines().collect();
            assert_eq!(answers.len(), 3, "{who}: {answers:?}");
            assert!(answers[0].starts_with(&format!("0c{:08x}", publics.len())));
            for public in publics {
                assert!(answers[0].contains(public), "{who}: {answers:?}");
            }
            assert_eq!(answers[1..], ["05", "05"], "{who}");
        };
        check("answers", &[&first_public]);
        check("tmp/nobody", &[&first_public]);
        check("second.answers", &[&second_public, &first_public]);
        assert!(!image.has("run/buildkit") && !image.has("second"), "{who}");
        let keys = [&first, &second].map(|path| fs_err::read_to_string(path).unwrap());
        let lines = keys.iter().flat_map(|key| key.lines());
        let forms: Vec<_> = lines
            .filter(|line| !line.starts_with("---"))
            .map(|line| line.as_bytes().to_vec())
            .collect();
        assert_nowhere(&env.store(), &forms);
        assert_nothing_left(&env.path("store"), &env.store());
    }
}

/// The user's own agent is asked, under any of its names; its path is nowhere.
#[test]
fn an_agent_is_forwarded() {
    let debian = bases::debian();
    need!(debian.is_some(), "this needs mmdebstrap");
    let env = TestEnv::new();
    env.import(debian.unwrap(), "debian");
    let dockerfile = "\
FROM debian
COPY client.pl /client.pl
ENV SSH_AUTH_SOCK=/mine
RUN --mount=type=ssh,target=mine,required perl /client.pl > /answers
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("client.pl", CLIENT)]);
    let socket = env.path("home/an-agent-of-the-host");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Two builds, in each of which one request gets here.
            for stream in listener.incoming().take(2) {
                let mut stream = stream.unwrap();
                let mut request = [0; 5];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(request, [0, 0, 0, 1, 11]);
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            }
        });
        let named = format!("--ssh=default={}", socket.display());
        for args in [&["--ssh", "default"][..], &["--no-cache", &named]] {
            let mut command = env.command();
            command
                .env("SSH_AUTH_SOCK", &socket)
                .args(["build", "-q", "-t", "a"]);
            Run::of(command.args(args).arg(&context)).ok();
            assert_eq!(env.image("a").text("answers"), "0c00000000\n05\n05\n");
        }
    });
    assert_nowhere(&env.store(), &[b"an-agent-of-the-host".to_vec()]);
}

#[test]
fn agents_that_are_missing_or_wrong() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let build = |mount: &str, args: &[&str]| {
        let dockerfile =
            format!("FROM busybox\nRUN --mount=type=ssh{mount} echo \"<$SSH_AUTH_SOCK>\" > /out\n");
        let context = env.context("ctx", &[("Dockerfile", &dockerfile)]);
        Run::of(
            env.command()
                .args(["build", "-t", "a"])
                .args(args)
                .arg(context),
        )
    };
    build("", &[]).ok();
    assert_eq!(env.image("a").text("out"), "<>\n");
    build(",required", &[])
        .fails(1)
        .says("no SSH key \"default\" forwarded from the client");
    build(",id=x,required", &[])
        .fails(1)
        .says("no SSH key \"x\" forwarded from the client");
    build("", &["--ssh", "default"])
        .fails(1)
        .says("invalid empty ssh agent socket");
    build("", &["--ssh", "a=/no/such/key"])
        .fails(1)
        .says("/no/such/key");
    let file = secret_file(&env, "a", "no key\n");
    build("", &["--ssh", &format!("a={}", file.display())])
        .fails(1)
        .says("not a private key");
    let socket = env.path("home/socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let option = format!("a={}", socket.display());
    build("", &["--ssh", &option, "--ssh", &option])
        .fails(2)
        .says("duplicate agent ID \"a\"");
}
