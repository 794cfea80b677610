//! What steps may use and do: limits, privileges, entitlements.

use crate::mounts::environments;
use crate::support::processes::assert_nothing_left;
use crate::support::run::Run;
use crate::support::{TestEnv, bases, need};

const NEEDS: &str = "this needs busybox-static";

#[test]
fn limits_hold_in_steps() {
    let environments = environments();
    need!(!environments.is_empty(), "{NEEDS}");
    let dockerfile = "\
FROM busybox
RUN ulimit -Sn > /soft; ulimit -Hn > /hard; ulimit -c > /core; df -k /dev/shm | tail -n 1 | awk '{print $2}' > /shm
";
    for (who, env) in environments {
        let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
        let args = [
            "--ulimit=nofile=100:200",
            "--ulimit",
            "core=0",
            "--shm-size=8m",
        ];
        let image = env.build_image(&context, &args);
        let found = ["soft", "hard", "core", "shm"].map(|name| image.text(name).trim());
        assert_eq!(found, ["100", "200", "0", "8192"], "{who}");
        // The size of the shared memory is in no key, limits are.
        let again = env.build_image(&context, &[args[0], args[1], args[2], "--shm-size=9m"]);
        assert_eq!(again.text("shm").trim(), "8192", "{who}");
        let other = env.build_image(&context, &["--ulimit=nofile=100:300"]);
        assert_eq!(other.text("hard").trim(), "300", "{who}");
    }
}

#[test]
fn insecure_steps_need_to_be_allowed() {
    let env = TestEnv::new();
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    env.import(busybox.unwrap(), "busybox");
    let dockerfile = "FROM busybox\nRUN --security=insecure true\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let build = |args: &[&str]| {
        let mut command = env.command();
        Run::of(command.arg("build").args(args).arg(&context))
    };
    build(&[]).fails(1).says("security.insecure");
    build(&["--allow", "network.host"])
        .fails(1)
        .says("security.insecure");
    build(&["--allow=security.insecure"]).ok();
    build(&["--allow=everything"])
        .fails(2)
        .says("unknown entitlement everything");
}

/// A step that is allowed to has what the builder has; its neighbours have what they always have.
#[test]
fn insecure_steps_have_all_capabilities() {
    let environments = environments();
    need!(!environments.is_empty(), "{NEEDS}");
    let dockerfile = "\
FROM busybox
RUN --security=insecure grep -E '^(Cap(Eff|Bnd)|Seccomp):' /proc/self/status > /insecure; \
    mkdir /mnt; mount -t tmpfs none /mnt && touch /mnt/x && ls /mnt > /mounted; \
    grep -c ' /proc/kcore ' /proc/mounts > /hidden; true
RUN grep -E '^(Cap(Eff|Bnd)|Seccomp):' /proc/self/status > /sandbox; ! mount -t tmpfs none /mnt
";
    for (who, env) in environments {
        let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
        let image = env.build_image(&context, &["--allow", "security.insecure"]);
        let value = |file: &str, name: &str| {
            let text = image.text(file);
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let bits = |file: &str, name: &str| u64::from_str_radix(&value(file, name), 16).unwrap();
        const SYS_ADMIN: u64 = 1 << 21;
        for name in ["CapEff", "CapBnd"] {
            assert_ne!(bits("insecure", name) & SYS_ADMIN, 0, "{who}: {name}");
            assert_eq!(bits("sandbox", name), 0xa804_25fb, "{who}: {name}");
        }
        assert_eq!(value("sandbox", "Seccomp"), "2", "{who}");
        assert_eq!(image.text("hidden"), "0\n", "{who}");
        if who != "a single id" {
            assert_eq!(value("insecure", "Seccomp"), "0", "{who}");
            assert_eq!(image.text("mounted"), "x\n", "{who}");
        }
        assert_nothing_left(&env.path("store"), &env.store());
    }
}

#[test]
fn this_machine_has_a_name_for_steps() {
    let env = TestEnv::new();
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    env.import(busybox.unwrap(), "busybox");
    let dockerfile = "FROM busybox\nRUN grep -v localhost /etc/hosts > /hosts\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let image = env.build_image(
        &context,
        &[
            "--add-host=me:host-gateway",
            "--add-host",
            "six=[::2],10.0.0.1",
        ],
    );
    let hosts = "127.0.0.1\tme\n::2\tsix\n10.0.0.1\tsix\n";
    assert_eq!(image.text("hosts"), hosts);
}

/// Options of `docker build` that do nothing there either, and limits that do not exist.
#[test]
fn options_of_old() {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]);
    env.build(
        &context,
        &[
            "--compress",
            "--rm=false",
            "--force-rm",
            "--squash",
            "--security-opt",
            "seccomp=unconfined",
            "--isolation=default",
        ],
    );
    let context = context.to_str().unwrap();
    for (option, text) in [
        ("--ulimit=nofile", "invalid ulimit argument: nofile"),
        ("--ulimit=files=1", "invalid ulimit type: files"),
        ("--ulimit=nofile=2:1", "less than or equal to hard limit"),
        ("--shm-size=much", "--shm-size"),
        ("--add-host=x:nowhere", "invalid host x:nowhere"),
    ] {
        env.rbuild(["build", option, context]).fails(2).says(text);
    }
}
