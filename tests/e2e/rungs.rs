//! Every rung of isolation gives the layers that root gives: the same paths, kinds, modes, owners,
//! links, attributes and device numbers, and where times are given the same bytes.

use std::path::Path;
use std::sync::OnceLock;

use crate::examples;
use crate::support::env::user_namespaces;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::tree::Entry;
use crate::support::{TestEnv, example, is_root, need, users};

const NEEDS: &str = "this needs root, busybox-static, docker-registry, uidmap, and the users of \
                     scripts/test-users.sh";

/// A rung below root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    Identity,
    SubordinateIds,
    SingleId,
}

const RUNGS: [Rung; 3] = [Rung::Identity, Rung::SubordinateIds, Rung::SingleId];

impl Rung {
    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::SubordinateIds => "subordinate-ids",
            Self::SingleId => "single-id",
        }
    }

    /// Where builds run on this rung; one store for all of them.
    fn env(self) -> Option<&'static TestEnv> {
        static ENVS: [OnceLock<Option<TestEnv>>; 3] = [const { OnceLock::new() }; 3];
        let make = || {
            let env = match self {
                Self::Identity => is_root().then(TestEnv::new)?,
                Self::SubordinateIds => TestEnv::of(users::ordinary(true).filter(user_namespaces)?),
                Self::SingleId => TestEnv::of(users::ordinary(false).filter(user_namespaces)?),
            };
            shared(env)
        };
        ENVS[self as usize].get_or_init(make).as_ref()
    }
}

fn roots_env() -> Option<&'static TestEnv> {
    static ENV: OnceLock<Option<TestEnv>> = OnceLock::new();
    ENV.get_or_init(|| shared(is_root().then(TestEnv::new)?))
        .as_ref()
}

fn shared(env: TestEnv) -> Option<TestEnv> {
    let env = env.and_registry()?;
    env.remove_with_process();
    Some(env)
}

/// Builds a folder's Dockerfile on a rung, with times that are given.
#[track_caller]
fn build(env: &TestEnv, rung: &str, context: &Path, dockerfile: &str) -> Image {
    let tar = env.out(&format!("{rung}-{:?}.tar", std::thread::current().id()));
    let dest = format!("type=oci,dest={}", tar.display());
    let file = context.join(dockerfile);
    env.rbuild([
        "build",
        "--build-arg",
        "SOURCE_DATE_EPOCH=1700000000",
        "--isolation",
        rung,
        "-f",
        file.to_str().unwrap(),
        "-o",
        &dest,
        context.to_str().unwrap(),
    ])
    .ok();
    let image = Image::from_archive(&tar);
    fs_err::remove_file(&tar).unwrap();
    image
}

/// What stands in one layer and not in the other.
fn differences(ours: &Image, roots: &Image) -> Vec<String> {
    let mut lines = Vec::new();
    let mut of_layer = |number: usize, ours: &[Entry], roots: &[Entry]| {
        let only = |these: &[Entry], those: &[Entry], sign: &str| -> Vec<String> {
            let missing = these.iter().filter(|entry| !those.contains(entry));
            missing
                .map(|entry| format!("layer {number}: {sign} {}", entry.summary()))
                .collect()
        };
        lines.extend(only(roots, ours, "root"));
        lines.extend(only(ours, roots, "here"));
    };
    for (number, (ours, roots)) in ours.layers.iter().zip(&roots.layers).enumerate() {
        of_layer(number, ours, roots);
    }
    if ours.layers.len() != roots.layers.len() {
        lines.push("another number of layers".to_owned());
    }
    lines
}

/// Files of package managers that hold the times at which they ran.
const TIMED: &[&str] = &[
    "var/cache/apt/",
    "var/cache/ldconfig/",
    "var/lib/apt/",
    "var/log/",
];

/// Builds a folder's Dockerfile on every rung and compares with root's, to the digest where no times are in files.
fn compare(context: &Path, dockerfile: &str) {
    let rungs = RUNGS.map(Rung::env);
    need!(
        roots_env().is_some() && rungs.iter().all(Option::is_some),
        "{NEEDS}"
    );
    let roots = build(roots_env().unwrap(), "root", context, dockerfile);
    for (rung, env) in RUNGS.into_iter().zip(rungs.into_iter().flatten()) {
        let ours = build(env, rung.name(), context, dockerfile);
        let (timed, differences): (Vec<_>, Vec<_>) = differences(&ours, &roots)
            .into_iter()
            .partition(|line| TIMED.iter().any(|folder| line.contains(folder)));
        assert!(
            differences.is_empty(),
            "{dockerfile} of {} on {rung:?}:\n{}",
            context.display(),
            differences.join("\n")
        );
        if timed.is_empty() {
            assert_eq!(ours.digest, roots.digest, "{dockerfile} on {rung:?}");
        }
    }
}

/// Compares what a Dockerfile gives that stands alone.
fn compare_text(dockerfile: &str) {
    let dir = readable();
    fs_err::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    compare(dir.path(), "Dockerfile");
}

/// A folder that every user can read.
fn readable() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs_err::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// Compares what files of an example give.
fn compare_example(name: &str, dockerfiles: &[&str]) {
    // A copy: the repository may lie where a user cannot read.
    let dir = readable();
    let context = dir.path().join(name);
    let copied = std::process::Command::new("cp")
        .args([
            "-r".as_ref(),
            example(name).as_os_str(),
            context.as_os_str(),
        ])
        .status();
    assert!(copied.unwrap().success());
    for dockerfile in dockerfiles {
        compare(&context, dockerfile);
    }
}

#[test]
fn busybox_examples() {
    for name in examples::ON_BUSYBOX {
        compare_example(name, &["Dockerfile", "Dockerfile.prod"]);
    }
}

fn has_debian() -> bool {
    is_root() && Registry::shared().is_some_and(Registry::add_debian)
}

#[test]
fn debian_examples() {
    need!(has_debian(), "{NEEDS}, and mmdebstrap");
    for name in examples::ON_DEBIAN {
        compare_example(name, &["Dockerfile.prod"]);
    }
}

#[test]
fn owners() {
    compare_text(
        "\
FROM busybox
COPY --chown=12:34 Dockerfile /copied
RUN mkdir -p /app/sub && cd /app && touch a b sub/c setuid && chown -R 1000:1001 /app && ln -s a link \\
 && chown -h 5:6 link && mkfifo fifo && chown 7:8 fifo && ln a hard && chown 9 b && chgrp 10 sub/c && chmod 4755 setuid \\
 && ln -s /nowhere dangling && chown -h 11:12 dangling && touch gone && chown 3:3 gone && rm gone && touch gone \\
 && chown 1:1 setuid && ln -s x away && chown -h 2:2 away && rm away && ln -s x away
",
    );
}

#[test]
fn what_is_seen() {
    compare_text(
        "\
FROM busybox
COPY --chown=12:34 Dockerfile /copied
RUN mkdir -p /app && cd /app && touch a b && chown 1000:1001 /app a && ln -s a link && chown -h 5:6 link \\
 && mkfifo fifo && chown 7:8 fifo && chown 60000:5 b
RUN cp -a /app /copy && mkdir /untar && tar -c -C / app | tar -x -C /untar \\
 && stat -c '%n %u:%g %a %F' /app /app/* /copied /etc/passwd /copy/* /untar/app/* > /seen \\
 && mv /app/link /moved-link && mv /app/fifo /moved-fifo && mv /app /moved && stat -c '%n %u:%g' /moved/* >> /seen; \\
    find / -xdev -user 1000 >> /seen; chown 4 /copied; chgrp 8 /copied; test -O /copied || echo not mine >> /seen
RUN stat -c '%n %u:%g' /moved/* /moved-* /copied > /seen-later; cp -p /copied /again; cat < /again > /dev/null
RUN sed -i s/FROM/from/ /copied && echo more >> /moved/a && rm /copy/link && chown -h 3:3 /untar/app/link && chmod 700 /untar/app
",
    );
}

#[test]
fn devices() {
    compare_text(
        "\
FROM busybox
RUN mknod -m 666 /null c 1 3 && mknod /disk b 7 200 && chown 0:6 /disk && chmod 640 /disk && mknod /pipe p && mkdir /d \\
 && mknod /d/big c 510 70000 && ! mknod /disk b 1 1 && ! mknod /nowhere/x c 1 1 && ln /null /null2 && mv /d/big /d/moved
RUN chown 5:5 /d/moved && rm /disk && mknod /d/other c 5 1
RUN cp -a /etc /etc2
",
    );
}

#[test]
fn users() {
    compare_text(
        "\
FROM busybox
RUN mkdir -m 1777 /w && chmod 1777 /w && id > /id
USER 1000:1001
RUN cd /w && id > id && touch file && mkdir dir dir/sub && ln -s x link && mkfifo fifo && cp file copy && stat -c '%u:%g' file link > seen \\
 && echo x > dir/written && mv copy moved && ln file hard && touch -d @1000000000 old && umask 077 && touch private && mkdir secret
USER www-data
RUN id -u > /w/www && umask 022 && echo 1 > /w/www2 && stat -c '%n %u:%g %a' /w/* > /w/seen-all && test -O /w/www
USER 0
RUN su -s /bin/sh -c 'id > /w/su-id; touch /w/su; mkdir /w/su-dir; cat /proc/self/comm > /dev/null' www-data; touch /w/roots; \\
    chown 33 /w/su-dir; mkdir /w/shared && chgrp 100 /w/shared && chmod 2775 /w/shared && touch /w/shared/f && mkdir /w/shared/d \\
 && mv /w/roots /w/shared/ && (umask 0; touch /w/shared/d/open)
",
    );
}

/// Package managers, in a base whose files are not all root's.
#[test]
fn packages() {
    need!(has_debian(), "{NEEDS}, and mmdebstrap");
    compare_text(
        "\
FROM debian:12
ARG SOURCE_DATE_EPOCH
RUN groupadd -g 900 app && useradd -m -u 1000 -g app -G staff app && useradd --system svc \\
 && install -o app -g staff -m 2750 -d /srv/app && install -o svc -m 4755 /bin/true /srv/app/tool \\
 && touch /var/local/staffs && mkdir /var/local/dir && stat -c '%n %U:%G %a' /var/local/* /etc/shadow /srv/app/* /usr/bin/chage > /seen
RUN mkdir -p /p/DEBIAN /p/opt/x && printf 'Package: x\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n' > /p/DEBIAN/control \\
 && printf '#!/bin/sh\\nchown app:staff /opt/x/by-script\\n' > /p/DEBIAN/postinst && chmod 755 /p/DEBIAN/postinst \\
 && touch /p/opt/x/by-script /p/opt/x/owned && chown 1000:900 /p/opt/x/owned /p/opt/x && ln -s owned /p/opt/x/link && chown -h 1000:900 /p/opt/x/link \\
 && dpkg-deb --build /p /x.deb && dpkg -i /x.deb && stat -c '%n %U:%G' /opt/x/* > /seen \\
 && tar -cf /x.tar -C /opt x && mkdir /t && tar -xpf /x.tar -C /t && cp -a /opt/x /y \\
 && rm -rf /x.deb /p /x.tar /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig /var/lib/dpkg/*-old
",
    );
}

/// Programs that change who they are.
#[test]
fn identities() {
    need!(has_debian(), "{NEEDS}, and mmdebstrap");
    compare_text(
        "\
FROM debian:12
ARG SOURCE_DATE_EPOCH
RUN useradd -m -u 1000 app && mkdir -m 1777 /w && chmod 1777 /w
RUN cd /w && setpriv --reuid=1000 --regid=1001 --clear-groups sh -c 'id > setpriv; touch by-setpriv; sh -c \"id -u > child\"' \\
 && su app -c 'id > su; touch by-su; mkdir -p d/e; (sleep 0.1; touch late) & wait' && id > still-root && touch root \\
 && perl -e '$) = \"33 33 44\"; $> = 33; open F, \">\", \"by-perl\"; print F \"$< $> $( $)\"; close F; $> = 0; $) = 0; open G, \">\", \"back\"; print G \"$< $> $(\"'  \\
 && perl -e 'use POSIX; POSIX::setgid(7); POSIX::setuid(8); print \"$< $>\\n\"; exit !POSIX::setuid(0);' > dropped; echo $? >> dropped \\
 && chown app by-su && cp -p by-su copied && stat -c '%n %u:%g' * > seen && rm -rf ~app/.??*
USER app
RUN id > /w/user; test \"$(id -un)\" = app && touch ~/mine && cd /w && stat -c '%n %U %a' ~/mine * . > users
",
    );
}

#[test]
fn attributes() {
    need!(
        has_debian() && cfg!(target_arch = "x86_64"),
        "{NEEDS}, mmdebstrap, and an x86-64 machine"
    );
    // setxattr is call 188. A capability set that permits CAP_NET_BIND_SERVICE.
    compare_text(
        "\
FROM debian:12
RUN cp /bin/true /bound && perl -e '($f, $n, $v) = (\"/bound\", \"security.capability\", pack(\"V5\", 0x02000001, 1 << 10, 0, 0, 0)); syscall(188, $f, $n, $v, 20, 0) and die $!' \\
 && mkdir /d && perl -e '($f, $n, $v) = (\"/d\", \"user.note\", \"text\"); syscall(188, $f, $n, $v, 4, 0) and die $!' && chown 1000:1000 /d && cp -a /d /e
RUN mv /bound /moved && ln /moved /linked && chmod 700 /d
",
    );
}
