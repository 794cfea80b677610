//! Platforms other than this machine's: their steps run under QEMU, and nobody has set that up.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::env::user_namespaces;
use crate::support::image::Image;
use crate::support::run::Run;
use crate::support::users::{self, User};
use crate::support::{TestEnv, bases, example, find, is_root, need};

const NEEDS: &str = "this needs amd64, Linux 6.7, qemu-user-static, and bases of other architectures \
                     (scripts/make-base.sh with the name of one)";

/// Where the machine's own rules would be.
const MACHINE_RULES: &str = "/proc/sys/fs/binfmt_misc";

/// Tells whether this machine can run these tests.
fn can_emulate(architectures: &[&str]) -> bool {
    let release = rustix::system::uname();
    let mut numbers = release
        .release()
        .to_str()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().unwrap().parse::<u32>().unwrap();
    cfg!(target_arch = "x86_64")
        && (number(), number()) >= (6, 7)
        && find("qemu-aarch64-static").is_some()
        && bases::busybox().is_some()
        && architectures
            .iter()
            .all(|name| bases::foreign(name).is_some())
}

/// Imports a base under a name that ends like Go's name of its architecture.
fn import(env: &TestEnv, debian: &str, platform: &str) {
    let tar = bases::foreign(debian).unwrap();
    let name = format!("base-{}", platform.split('/').nth(1).unwrap());
    env.rbuild([
        "import",
        "--platform",
        platform,
        tar.to_str().unwrap(),
        &name,
    ])
    .ok();
}

/// A folder that holds QEMU for these architectures and nothing else.
fn qemu_dir(env: &TestEnv, names: &[&str]) -> PathBuf {
    let dir = env.context("qemu", &[]);
    for name in names {
        let file = format!("qemu-{name}-static");
        fs_err::os::unix::fs::symlink(find(&file).unwrap(), dir.join(file)).unwrap();
    }
    dir
}

fn machine_rules() -> Vec<String> {
    let entries = fs_err::read_dir(MACHINE_RULES)
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What steps for arm64 can do, whoever builds.
fn arm64_steps(env: &TestEnv, has_other_ids: bool) {
    import(env, "arm64", "linux/arm64");
    let before = machine_rules();
    let dockerfile = "\
FROM base-arm64
RUN uname -m > /machine; sh -c 'uname -m | cat' >> /machine; ls -l /proc/self/exe > /exe
RUN touch /given && chown 12:34 /given && echo $0 > /zero && grep -c CapEff:.00000000a80425fb /proc/self/status
RUN mkdir /suid && cp /bin/busybox /suid/busybox && chmod 4755 /suid/busybox
USER www-data
RUN id -u > /tmp/id; (/bin/busybox crontab -l; /suid/busybox crontab -l) > /tmp/suid 2>&1; true
USER root
RUN sh -c 'exit 7' || test $? = 7; ! /bin/false
RUN --network=none test $(tail -n +3 /proc/net/dev | wc -l) = 1
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let qemu = qemu_dir(env, &["aarch64"]);
    // Rules of our own, even if the machine has some.
    let image = env.build_image(
        &context,
        &[
            "--platform",
            "linux/arm64",
            "--qemu",
            qemu.to_str().unwrap(),
        ],
    );
    assert_eq!(image.text("machine"), "aarch64\naarch64\n");
    assert!(
        image
            .text("exe")
            .ends_with("/proc/self/exe -> /bin/busybox\n")
    );
    assert_eq!(image.text("zero"), "/bin/sh\n");
    assert_eq!(image.config["architecture"], "arm64");
    let given = image.node("given");
    if has_other_ids {
        assert_eq!(image.text("tmp/id"), "33\n");
        assert_eq!((given.uid, given.gid), (12, 34));
        // Set-user-id programs are, and others are not.
        assert_eq!(image.text("tmp/suid").matches("must be suid").count(), 1);
    }
    // Whatever way the machine has: its rules, or the system's QEMU.
    let again = env.build_image(&context, &["--platform", "linux/arm64", "--no-cache"]);
    assert_eq!(again.text("machine"), "aarch64\naarch64\n");
    assert_eq!(
        machine_rules(),
        before,
        "the machine's rules are as they were"
    );
}

#[test]
fn arm64_steps_as_root() {
    need!(is_root() && can_emulate(&["arm64"]), "{NEEDS}, and root");
    arm64_steps(&TestEnv::new(), true);
}

fn ordinary(subordinate_ids: bool) -> Option<User> {
    users::ordinary(subordinate_ids).filter(user_namespaces)
}

#[test]
fn arm64_steps_with_subordinate_ids() {
    let user = ordinary(true);
    need!(
        user.is_some() && can_emulate(&["arm64"]),
        "{NEEDS}, and a user with subordinate ids"
    );
    arm64_steps(&TestEnv::of(user.unwrap()), true);
}

#[test]
fn arm64_steps_without_subordinate_ids() {
    let user = ordinary(false);
    need!(
        user.is_some() && can_emulate(&["arm64"]),
        "{NEEDS}, and a user without subordinate ids"
    );
    arm64_steps(&TestEnv::of(user.unwrap()), false);
}

/// The example for another architecture, as its README says, by users for whom nothing was set up.
#[test]
fn the_emulated_example_as_an_ordinary_user() {
    let users: Vec<_> = [true, false].into_iter().filter_map(ordinary).collect();
    let debian = bases::debian();
    need!(
        !users.is_empty() && can_emulate(&[]) && debian.is_some(),
        "{NEEDS}, a base of Debian's, and an ordinary user"
    );
    let before = machine_rules();
    for user in users {
        let env = TestEnv::of(user);
        env.import(debian.unwrap(), "debian:12");
        let out = env.out("arm64.tar");
        let mut command = env.command();
        command
            .current_dir(example("emulated"))
            .args(["-f", "Dockerfile.prod", "--platform", "linux/arm64"])
            .args(["-o", &format!("type=oci,dest={}", out.display()), "."]);
        Run::of(&mut command).ok();
        let image = Image::from_archive(&out);
        assert_eq!(image.config["architecture"], "arm64");
        // 183 is aarch64 in the header of an ELF file.
        assert_eq!(
            image.text("srv/report/machine.txt"),
            "machine: aarch64\nelf: 183\n"
        );
        assert_eq!(image.node("srv/report").uid, 1500);
        assert_eq!(image.node("srv/report/machine.txt").uid, 1500);
    }
    assert_eq!(
        machine_rules(),
        before,
        "the machine's rules are as they were"
    );
}

/// A stage on the build platform runs once and natively; each platform gets its own image.
#[test]
fn several_platforms_run() {
    need!(can_emulate(&["arm64", "armhf", "s390x"]), "{NEEDS}");
    let env = TestEnv::new();
    for (debian, platform) in [
        ("arm64", "linux/arm64"),
        ("armhf", "linux/arm/v7"),
        ("s390x", "linux/s390x"),
    ] {
        import(&env, debian, platform);
    }
    env.import(bases::busybox().unwrap(), "base-amd64");
    let dockerfile = "\
FROM --platform=$BUILDPLATFORM base-amd64 AS once
RUN uname -m > /by; date +%s%N > /when
FROM base-$TARGETARCH
COPY --from=once /by /when /
ARG TARGETPLATFORM FAIL
RUN echo $TARGETPLATFORM $(uname -m) > /for; test \"$FAIL\" != $(uname -m)
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let tar = env.out("multi.tar");
    let to = format!("type=oci,dest={}", tar.display());
    let platforms = "linux/amd64/v2,linux/arm64/v8,linux/arm/v7,linux/s390x";
    let build = |arguments: &[&str]| {
        let mut command = env.command();
        command.args(["build", "--progress=plain", "--platform", platforms]);
        Run::of(command.args(arguments).arg(&context))
    };
    build(&["-o", &to]).ok();
    let images = Image::all_from_archive(&tar);
    let found: Vec<_> = images
        .iter()
        .map(|image| image.text("for").trim())
        .collect();
    assert_eq!(
        found,
        [
            "linux/amd64/v2 x86_64",
            "linux/arm64 aarch64",
            "linux/arm/v7 armv7l",
            "linux/s390x s390x"
        ]
    );
    for image in &images {
        assert_eq!(image.text("by"), "x86_64\n");
        assert_eq!(
            image.text("when"),
            images[0].text("when"),
            "the stage ran once"
        );
    }
    let variants: Vec<_> = images
        .iter()
        .map(|image| &image.config["variant"])
        .collect();
    assert_eq!(
        variants,
        [&json!("v2"), &json!(null), &json!("v7"), &json!(null)]
    );

    // What fails says for which platform.
    build(&["--build-arg", "FAIL=s390x"])
        .fails(1)
        .says("> [linux/s390x stage-1 3/3]")
        .says("exit code: 1");
}

/// Without an emulator only what needs one fails, and says what to install.
#[test]
fn a_missing_emulator_is_named() {
    need!(can_emulate(&["arm64", "i386"]), "{NEEDS}");
    need!(
        !machine_rules().iter().any(|name| name.contains("aarch64")),
        "this needs a machine that has no rules for arm64"
    );
    let env = TestEnv::new();
    import(&env, "arm64", "linux/arm64");
    import(&env, "i386", "linux/386");
    let dockerfile = "ARG TARGETARCH\nFROM base-$TARGETARCH\nRUN echo ran\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let empty = qemu_dir(&env, &[]);
    let build = |platform: &str, qemu: &Path| {
        let mut command = env.command();
        command.args(["build", "--platform", platform, "--qemu"]);
        Run::of(command.arg(qemu).arg(&context))
    };
    build("linux/386", &empty).ok();
    build("linux/arm64", &empty)
        .fails(1)
        .says("exec /bin/sh: exec format error: nothing here runs programs for linux/arm64")
        .says("There is no qemu-aarch64-static or qemu-aarch64 in")
        .says("sudo apt-get install qemu-user-static");
    build("linux/arm64", &env.path("nowhere"))
        .fails(2)
        .says("there is no folder");
    // A step that ran once needs no emulator.
    let full = env.context("full", &[]);
    fs_err::copy(
        find("qemu-aarch64-static").unwrap(),
        full.join("qemu-aarch64"),
    )
    .unwrap();
    build("linux/arm64", &full).ok();
    build("linux/arm64", &empty).ok();
}

/// Rules that the machine has are enough, and are not replaced.
#[test]
fn the_machines_rules_are_used() {
    need!(
        is_root() && find("unshare").is_some() && can_emulate(&["arm64"]),
        "{NEEDS}, and root"
    );
    let env = TestEnv::new();
    import(&env, "arm64", "linux/arm64");
    let dockerfile = "FROM base-arm64\nRUN uname -m\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let qemu = find("qemu-aarch64-static").unwrap();
    // A machine of its own: a user namespace with a rule, on which the emulator is not found.
    let script = format!(
        "mount -t binfmt_misc none {MACHINE_RULES}\n\
         printf '%s' ':machines:M:0:\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\
         \\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:{0}:F' \
         > {MACHINE_RULES}/register\n\
         mount --bind /dev/null {0}\n\
         exec \"$@\"\n",
        qemu.display()
    );
    let mut inner = env.command();
    inner
        .args(["build", "--progress=plain", "--platform=linux/arm64"])
        .arg(&context);
    let mut command = std::process::Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-ec",
            &script,
            "sh",
        ])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    let run = Run::of(&mut command).ok();
    assert!(run.stderr.contains(" aarch64\n"), "{}", run.report());
}

/// Programs of architectures that no Debian 12 base is there for: each exits with 42.
#[test]
fn every_architecture_has_its_emulator() {
    need!(can_emulate(&[]), "{NEEDS}");
    let env = TestEnv::new();
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let big =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    for (platform, machine, little, code) in [
        (
            "linux/riscv64",
            243,
            true,
            words(&[0x05d0_0893, 0x02a0_0513, 0x0000_0073]),
        ),
        (
            "linux/loong64",
            258,
            true,
            words(&[0x0281_740b, 0x0280_a804, 0x002b_0000]),
        ),
        (
            "linux/ppc64",
            21,
            false,
            big(&[0x3800_0001, 0x3860_002a, 0x4400_0002]),
        ),
        (
            "linux/ppc64le",
            21,
            true,
            words(&[0x3800_0001, 0x3860_002a, 0x4400_0002]),
        ),
        (
            "linux/mips64le",
            8,
            true,
            words(&[0x2402_13c2, 0x2404_002a, 0x0000_000c]),
        ),
        (
            "linux/mips64",
            8,
            false,
            big(&[0x2402_13c2, 0x2404_002a, 0x0000_000c]),
        ),
    ] {
        let name = platform.replace('/', "-");
        let context = env.context(
            &name,
            &[(
                "Dockerfile",
                "FROM scratch\nCOPY --chmod=755 exit /\nRUN [\"/exit\"]\n",
            )],
        );
        fs_err::write(context.join("exit"), program(machine, little, &code)).unwrap();
        Run::of(
            env.command()
                .args(["build", "--platform", platform])
                .arg(&context),
        )
        .fails(1)
        .says("exit code: 42");
    }
}

/// A 64-bit ELF program that is nothing but `code`.
fn program(machine: u16, little: bool, code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    const BASE: u64 = 0x1_0000;
    let mut bytes = Vec::new();
    let mut put = |size: usize, value: u64| {
        if little {
            bytes.extend_from_slice(&value.to_le_bytes()[..size]);
        } else {
            bytes.extend_from_slice(&value.to_be_bytes()[8 - size..]);
        }
    };
    for byte in [0x7f, b'E', b'L', b'F', 2, if little { 1 } else { 2 }, 1] {
        put(1, u64::from(byte));
    }
    (0..9).for_each(|_| put(1, 0));
    // The second ABI of ppc64, in which the entry point is code and not a descriptor.
    let flags = if machine == 21 { 2 } else { 0 };
    let size = HEADERS + code.len() as u64;
    for (width, value) in [
        (2, 2),
        (2, u64::from(machine)),
        (4, 1),
        (8, BASE + HEADERS),
        (8, 64),
        (8, 0),
        (4, flags),
        (2, 64),
        (2, 56),
        (2, 1),
        (2, 0),
        (2, 0),
        (2, 0),
        // The one program header: load it all, to be read and executed.
        (4, 1),
        (4, 5),
        (8, 0),
        (8, BASE),
        (8, BASE),
        (8, size),
        (8, size),
        (8, 0x1000),
    ] {
        put(width, value);
    }
    bytes.extend_from_slice(code);
    bytes
}
