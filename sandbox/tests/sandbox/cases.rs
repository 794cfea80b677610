//! The cases.

use std::time::{Duration, Instant};

use crate::fixture::{
    Done, Fixture, Outcome, Who, has_program, is_root, processes_with, test_user,
};
use crate::probe::WORKING;

type Case = fn() -> Done;

pub(crate) const ALL: &[(&str, Case)] = &[
    ("exit_codes", exit_codes),
    ("failures_are_told_apart", failures_are_told_apart),
    (
        "programs_come_from_the_roots_path",
        programs_come_from_the_roots_path,
    ),
    ("environment_and_directory", environment_and_directory),
    ("users_and_groups", users_and_groups),
    ("capabilities_are_dockers", capabilities_are_dockers),
    ("only_own_processes_are_seen", only_own_processes_are_seen),
    ("device_directory", device_directory),
    ("kernel_files_are_protected", kernel_files_are_protected),
    ("host_is_out_of_reach", host_is_out_of_reach),
    ("descriptors_and_terminal", descriptors_and_terminal),
    ("reading_leaves_upper_empty", reading_leaves_upper_empty),
    ("changes_land_in_upper", changes_land_in_upper),
    ("directory_root", directory_root),
    ("hosts_and_resolv_conf", hosts_and_resolv_conf),
    ("mounts_of_every_kind", mounts_of_every_kind),
    ("mount_targets_stay_inside", mount_targets_stay_inside),
    ("hostile_proc_link", hostile_proc_link),
    ("no_network", no_network),
    (
        "abstract_sockets_are_out_of_reach",
        abstract_sockets_are_out_of_reach,
    ),
    ("limits", limits),
    ("daemons_die_with_the_step", daemons_die_with_the_step),
    ("kill_leaves_nothing", kill_leaves_nothing),
    ("dropping_kills", dropping_kills),
    ("terminate_is_passed_on", terminate_is_passed_on),
    ("death_of_the_builder_kills", death_of_the_builder_kills),
    ("dangerous_calls_are_refused", dangerous_calls_are_refused),
    ("many_threads_spawn", many_threads_spawn),
    ("subordinate_ids", subordinate_ids),
    ("single_id", single_id),
    ("ordinary_user_is_isolated", ordinary_user_is_isolated),
    ("root_without_sys_admin", root_without_sys_admin),
    ("root_of_a_user_namespace", root_of_a_user_namespace),
    (
        "wishes_that_cannot_be_granted",
        wishes_that_cannot_be_granted,
    ),
    ("time_of_a_step", time_of_a_step),
];

/// Everything that does not need real root runs as whoever this is.
fn mine() -> Fixture {
    Fixture::new(Who::Me)
}

fn exit_codes() -> Done {
    let fixture = mine();
    fixture.run("auto", &[], &["/bin/true"]).exited("Code(0)");
    fixture.sh("auto", &[], "exit 42").exited("Code(42)");
    fixture
        .sh("auto", &[], "no-such-program")
        .exited("Code(127)");
    fixture.sh("auto", &[], "kill -9 $$").exited("Signal(9)");
    fixture
        .sh("auto", &[], "kill -TERM $$")
        .exited("Signal(15)");
    fixture
        .sh("auto", &[], "sh -c 'kill -9 $$'; exit $?")
        .exited("Code(137)");
    let outcome = fixture.sh("auto", &[], "echo out; echo err >&2; cat");
    assert_eq!(outcome.ok(), "out");
    assert_eq!(outcome.stderr, "err\n");
    Done::Passed
}

fn failures_are_told_apart() -> Done {
    let fixture = mine();
    let outcome = fixture.run("auto", &[], &["/no/such/program"]);
    outcome.reports("error cannot run /no/such/program: No such file or directory");
    outcome.reports("shell_exit_code 127");
    let outcome = fixture.run("auto", &[], &["/etc/passwd"]);
    outcome.reports("error cannot run /etc/passwd: Permission denied");
    outcome.reports("shell_exit_code 126");
    let outcome = fixture.run("auto", &["cwd", "/nowhere"], &["/bin/true"]);
    outcome.reports("error cannot enter the working directory /nowhere: No such file");
    let outcome = fixture.run("auto", &["no-stubs"], &["/bin/true"]);
    outcome.reports("error cannot find the mount point proc in the root: No such file");
    fs_err::remove_dir_all(fixture.path("lower")).unwrap();
    let outcome = fixture.run("auto", &[], &["/bin/true"]);
    outcome.reports("error cannot open the layer");
    Done::Passed
}

fn programs_come_from_the_roots_path() -> Done {
    let fixture = mine();
    fixture.run("auto", &[], &["true"]).exited("Code(0)");
    let outcome = fixture.run("auto", &["clear-env", "env", "PATH=/etc"], &["true"]);
    outcome.reports("error cannot run true: No such file");
    let options = ["clear-env", "env", "PATH=/etc:/bin"];
    fixture.run("auto", &options, &["false"]).exited("Code(1)");
    Done::Passed
}

fn environment_and_directory() -> Done {
    let fixture = mine();
    let options = ["clear-env", "env", "A=1 2", "env", "EMPTY=", "cwd", "/tmp"];
    let outcome = fixture.run("auto", &options, &["/bin/env"]);
    assert_eq!(outcome.ok(), "A=1 2\nEMPTY=");
    let options = ["cwd", "/etc/../tmp", "hostname", "builder-1"];
    let outcome = fixture.sh(
        "auto",
        &options,
        "pwd; hostname; umask; cat /proc/sys/kernel/hostname",
    );
    assert_eq!(outcome.ok(), "/tmp\nbuilder-1\n0022\nbuilder-1");
    Done::Passed
}

fn users_and_groups() -> Done {
    if !is_root() {
        return Done::Skipped("needs root");
    }
    let fixture = mine();
    let outcome = fixture.sh("root", &[], "id; grep Groups: /proc/self/status");
    assert_eq!(outcome.ok(), "uid=0(root) gid=0\nGroups:\t ");
    let options = ["uid", "1000", "gid", "1001", "group", "7", "group", "4"];
    let script = "id -u; id -g; grep -E 'Groups|Cap(Eff|Prm|Inh|Amb)' /proc/self/status; \
                  echo to-stdout > /dev/stdout; touch /etc/x 2>/dev/null || echo refused";
    let outcome = fixture.sh("root", &options, script);
    let none = "0000000000000000";
    let expected = format!(
        "1000\n1001\nGroups:\t4 7 \nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\n\
         to-stdout\nrefused"
    );
    assert_eq!(outcome.ok(), expected);
    Done::Passed
}

fn capabilities_are_dockers() -> Done {
    let fixture = mine();
    let script = "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'";
    let outcome = fixture.sh("auto", &[], script);
    assert_eq!(
        outcome.ok(),
        "CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\n\
         CapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:0\nSeccomp:2"
    );
    Done::Passed
}

fn only_own_processes_are_seen() -> Done {
    let fixture = mine();
    let outcome = fixture.sh(
        "auto",
        &[],
        "echo /proc/[0-9]*; echo $$; cat /proc/1/comm; tr -d '\\0' < /proc/1/cmdline",
    );
    assert_eq!(outcome.ok(), "/proc/1 /proc/2\n2\nrbuild-init\nrbuild");
    // Pid 1 has more capabilities than the program, which therefore cannot look into it.
    let script = "for f in exe root cwd environ maps mem fd/0; do \
                  (cat /proc/1/$f || readlink /proc/1/$f) >/dev/null 2>&1 && echo $f; done; \
                  for f in /proc/1/fd/*; do (: > $f) 2>/dev/null && echo $f; done; kill -9 1; kill -STOP 1; echo alive";
    assert_eq!(fixture.sh("auto", &[], script).ok(), "alive");
    Done::Passed
}

fn device_directory() -> Done {
    let fixture = mine();
    let script = "cd /dev; echo *; stat -c '%F %t:%T %a' null zero full random urandom tty; \
                  for f in fd stdin stdout stderr ptmx core; do readlink $f; done; echo x > null; head -c 3 zero | wc -c; \
                  (exec < tty) 2>/dev/null || echo no-tty; df shm | tail -1 | awk '{print $2}'; \
                  echo pts/*; touch shm/x && ls shm";
    let outcome = fixture.sh("auto", &[], script);
    assert_eq!(
        outcome.ok(),
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n\
         character special file 1:3 666\ncharacter special file 1:5 666\n\
         character special file 1:7 666\ncharacter special file 1:8 666\n\
         character special file 1:9 666\ncharacter special file 5:0 666\n\
         /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n/proc/kcore\n\
         3\nno-tty\n65536\npts/ptmx\nx"
    );
    Done::Passed
}

fn kernel_files_are_protected() -> Done {
    let fixture = mine();
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sys/vm/swappiness /proc/sysrq-trigger \
                  /proc/irq/default_smp_affinity /sys/kernel/mm/transparent_hugepage/enabled \
                  /sys/fs/cgroup/cgroup.procs /tmp/control; do \
                  [ $f = /tmp/control ] && touch $f; [ -f $f ] && (: >> $f) 2>/dev/null && echo $f; done; \
                  head -c 16 /proc/kcore | wc -c; head -c 16 /proc/keys | wc -c; ls /sys/firmware | wc -l; \
                  mount -t tmpfs x /tmp 2>/dev/null && echo mounted; umount /proc/sys 2>/dev/null && echo off; \
                  ls /proc/sys/kernel/pid_max";
    let outcome = fixture.sh("auto", &[], script);
    assert_eq!(
        outcome.ok(),
        "/tmp/control\n0\n0\n0\n/proc/sys/kernel/pid_max"
    );
    Done::Passed
}

fn host_is_out_of_reach() -> Done {
    let fixture = mine();
    let secret = fixture.path("host-secret");
    fs_err::write(&secret, "s3cret").unwrap();
    let path = secret.display().to_string();
    let script = format!(
        "cat {path} /..{path} /../../../..{path} /proc/self/root{path} /proc/1/root{path} 2>/dev/null; \
         env | grep HOST_SECRET; echo /tmp/* /*; cut -d' ' -f5 /proc/self/mountinfo | sort | head -3"
    );
    let outcome = fixture.sh("auto", &[], &script);
    assert_eq!(
        outcome.ok(),
        "/tmp/* /bin /dev /etc /proc /root /sys /tmp\n/\n/dev\n/dev/full"
    );
    Done::Passed
}

fn descriptors_and_terminal() -> Done {
    let fixture = mine();
    let script = "ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> \\([a-z/]*\\).*/\\1 \\2/p' | grep -v '^3 '; \
                  cut -d' ' -f6,7 /proc/self/stat; wc -c";
    let outcome = fixture.sh("auto", &[], script);
    assert_eq!(outcome.ok(), "0 /dev/null\n1 pipe\n2 pipe\n2 0\n0");
    Done::Passed
}

fn reading_leaves_upper_empty() -> Done {
    let fixture = mine();
    let options = [
        "hosts",
        "127.0.0.1 x\n",
        "tmpfs",
        "/cache/a",
        "file",
        "/scripts/run",
        "x",
    ];
    let script =
        "cat /etc/hosts /etc/passwd /scripts/run; ls -R / >/dev/null 2>&1; touch /cache/a/x";
    let outcome = fixture.sh("auto", &options, script);
    outcome.exited("Code(0)");
    assert_eq!(fixture.upper(), Vec::<String>::new());
    Done::Passed
}

fn changes_land_in_upper() -> Done {
    let fixture = mine();
    let script =
        "echo x > /new; mkdir -p /root/a/b; touch /root/a/b/c; rm /etc/passwd; echo y > /dev/shm/x";
    fixture.sh("auto", &[], script).exited("Code(0)");
    let expected = [
        "etc",
        "etc/passwd",
        "new",
        "root",
        "root/a",
        "root/a/b",
        "root/a/b/c",
    ];
    assert_eq!(fixture.upper(), expected);
    let whiteout = fs_err::symlink_metadata(fixture.path("upper/etc/passwd")).unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(
        &whiteout.file_type()
    ));
    Done::Passed
}

fn directory_root() -> Done {
    let fixture = mine();
    for name in ["dev", "proc", "sys"] {
        fs_err::create_dir(fixture.path("lower").join(name)).unwrap();
    }
    let options = ["directory", "no-stubs"];
    fixture
        .sh("auto", &options, "echo x > /new; ls /proc/1 >/dev/null")
        .exited("Code(0)");
    assert_eq!(
        fs_err::read_to_string(fixture.path("lower/new")).unwrap(),
        "x\n"
    );
    assert_eq!(fixture.upper(), Vec::<String>::new());
    Done::Passed
}

fn hosts_and_resolv_conf() -> Done {
    let fixture = mine();
    let script = "cat /etc/hosts /etc/resolv.conf; for f in hosts resolv.conf; do \
                  (echo e > /etc/$f) 2>/dev/null && echo written; chmod 4777 /etc/$f 2>/dev/null && echo changed; \
                  rm -f /etc/$f 2>/dev/null && echo removed; done; true";
    let options = ["hosts", "1.2.3.4 here\n", "resolv", "nameserver 9.9.9.9\n"];
    let outcome = fixture.sh("auto", &options, script);
    assert_eq!(outcome.ok(), "1.2.3.4 here\nnameserver 9.9.9.9");
    assert_eq!(fixture.upper(), Vec::<String>::new());
    let outcome = fixture.sh("auto", &[], "cat /etc/hosts");
    assert_eq!(outcome.ok(), "from the image");
    Done::Passed
}

fn mounts_of_every_kind() -> Done {
    let fixture = mine();
    for name in [
        "bound/sub",
        "inside/d",
        "stack1/d",
        "stack2/d",
        "upper2",
        "work2",
    ] {
        fs_err::create_dir_all(fixture.path(name)).unwrap();
    }
    for name in ["bound/f", "inside/d/f", "stack1/d/one", "stack2/d/two"] {
        fs_err::write(fixture.path(name), name).unwrap();
    }
    let bound = fixture.path("bound").display().to_string();
    let options = [
        "bind-ro",
        &bound,
        "/ro",
        "bind",
        &bound,
        "/rw/deep",
        "bind-inside",
        "../../d",
        "/inside",
        "bind-stack",
        "d",
        "/stack",
        "tmpfs",
        "/t",
        "file",
        "/t/nested/run",
        "#!/bin/sh\necho ran",
        "file",
        "/dev/pipes/EOF",
        "#!/bin/sh\necho piped",
    ];
    let script = "cat /ro/f /inside/f; echo; echo /stack/*; /t/nested/run; /dev/pipes/EOF; \
                  touch /ro/x 2>/dev/null && echo written; touch /rw/deep/new /stack/three /t/x; \
                  echo x > /t/nested/run; stat -c %a /t/nested/run; \
                  grep -E ' /(ro|rw/deep|inside|stack|t) ' /proc/self/mountinfo | \
                  awk '{print $5, $6}' | sed 's/,[a-z]*time.*//' | sort";
    let outcome = fixture.sh("auto", &options, script);
    assert_eq!(
        outcome.ok(),
        "bound/finside/d/f\n/stack/one /stack/two\nran\npiped\n750\n/inside rw,nosuid,nodev\n\
         /ro ro,nosuid,nodev\n/rw/deep rw,nosuid,nodev\n/stack rw,nosuid,nodev\n/t rw,nosuid,nodev"
    );
    assert!(fixture.path("bound/new").is_file());
    assert!(fixture.path("upper2/d/three").is_file());
    assert_eq!(fixture.upper(), Vec::<String>::new());
    Done::Passed
}

fn mount_targets_stay_inside() -> Done {
    let fixture = mine();
    let outside = fixture.path("outside");
    fs_err::create_dir(&outside).unwrap();
    let link = fixture.path("lower/link");
    std::os::unix::fs::symlink(&outside, link).unwrap();
    std::os::unix::fs::symlink("/../../..", fixture.path("lower/up")).unwrap();
    // The link's target does not exist inside, and the sandbox makes nothing in the root.
    let outcome = fixture.run("auto", &["no-stubs", "tmpfs", "/link/x"], &["/bin/true"]);
    outcome.reports("error cannot find the mount point proc");
    for name in ["dev", "proc", "sys"] {
        fs_err::create_dir(fixture.path("lower").join(name)).unwrap();
    }
    let outcome = fixture.run("auto", &["no-stubs", "tmpfs", "/link/x"], &["/bin/true"]);
    outcome.reports("error cannot find the mount point /link/x in the root: No such file");
    let outcome = fixture.run("auto", &["no-stubs", "tmpfs", "/up"], &["/bin/true"]);
    outcome.reports("error cannot mount on /up: it is the root itself");
    let outcome = fixture.sh(
        "auto",
        &["no-stubs", "tmpfs", "/up/tmp"],
        "touch /tmp/x; echo /tmp/*",
    );
    assert_eq!(outcome.ok(), "/tmp/x");
    let outcome = fixture.run(
        "auto",
        &["no-stubs", "tmpfs", "/proc/self/fd"],
        &["/bin/true"],
    );
    outcome.reports("error cannot mount on /proc/self/fd: it is in /proc or /sys");
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fixture.upper(), Vec::<String>::new());
    Done::Passed
}

fn hostile_proc_link() -> Done {
    let fixture = mine();
    std::os::unix::fs::symlink("/", fixture.path("lower/proc")).unwrap();
    for name in ["dev", "sys"] {
        fs_err::create_dir(fixture.path("lower").join(name)).unwrap();
    }
    let outcome = fixture.run("auto", &["no-stubs"], &["/bin/true"]);
    outcome.reports("error cannot mount on proc: it is the root itself");
    fs_err::remove_file(fixture.path("lower/proc")).unwrap();
    // Elsewhere it is as good as in its own place: what protects it goes with it.
    std::os::unix::fs::symlink("/tmp", fixture.path("lower/proc")).unwrap();
    let script = "(: >> /tmp/sysrq-trigger) 2>/dev/null && echo open; head -c 9 /tmp/kcore | wc -c";
    assert_eq!(fixture.sh("auto", &["no-stubs"], script).ok(), "0");
    Done::Passed
}

fn no_network() -> Done {
    let fixture = mine();
    let script = "ls /sys/class/net; ip addr show lo | grep -o -E 'LOOPBACK,UP|inet 127[^ ]*'; \
                  tail -n +3 /proc/net/dev | wc -l";
    let outcome = fixture.sh("auto", &["no-network"], script);
    assert_eq!(outcome.ok(), "lo\nLOOPBACK,UP\ninet 127.0.0.1/8\n1");
    Done::Passed
}

fn abstract_sockets_are_out_of_reach() -> Done {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let fixture = mine();
    let name = format!("rbuild-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let outcome = probe(&fixture, "auto", &[], &["abstract", &name]);
    drop(listener);
    assert_eq!(outcome.ok(), "1", "EPERM");
    Done::Passed
}

fn limits() -> Done {
    let fixture = mine();
    let before = fs_err::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let options = [
        "rlimit", "nofile", "100", "200", "rlimit", "fsize", "1000", "2000", "tasks", "400",
    ];
    let script = "ulimit -n; ulimit -Hn; ulimit -c; (dd if=/dev/zero of=/big bs=1000 count=2) 2>/dev/null; \
                  wc -c < /big; cat /proc/sys/kernel/pid_max";
    let outcome = fixture.sh("auto", &options, script);
    let lines: Vec<&str> = outcome.ok().lines().collect();
    assert_eq!(lines[..3], ["100", "200", "0"]);
    // A limit of 1000 bytes, which busybox counts in blocks of 512.
    assert_eq!(lines[3], "1000");
    assert_eq!(
        fs_err::read_to_string("/proc/sys/kernel/pid_max").unwrap(),
        before
    );
    if lines[4] == "400" {
        let script = "i=0; while [ $i -lt 500 ]; do sleep 30 & i=$((i+1)); done; echo all";
        let outcome = fixture.sh("auto", &["tasks", "301"], script);
        assert!(!outcome.stdout.contains("all"), "{}", outcome.stdout);
    }
    let outcome = fixture.sh("auto", &[], "ulimit -n");
    assert_eq!(outcome.ok(), "1024");
    Done::Passed
}

fn daemons_die_with_the_step() -> Done {
    let fixture = mine();
    let marker = format!("sleep 5{:05}.25", std::process::id());
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10; do (trap '' TERM HUP INT; exec setsid {marker}) >/dev/null 2>&1 & done; \
         sleep 0.2; exit 7"
    );
    let start = Instant::now();
    fixture.sh("auto", &[], &script).exited("Code(7)");
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "it waited for the daemons"
    );
    assert_eq!(processes_with(&marker), []);
    Done::Passed
}

fn kill_leaves_nothing() -> Done {
    let fixture = mine();
    let marker = format!("sleep 6{:05}.25", std::process::id());
    let script = format!(
        "trap '' TERM; for i in 1 2 3; do {marker} & done; : > /ready; {marker}; echo never"
    );
    let outcome = fixture.sh("auto", &["kill-when", "ready"], &script);
    outcome.exited("Signal(9)");
    assert_eq!(outcome.stdout, "");
    assert_eq!(processes_with(&marker), []);
    Done::Passed
}

fn dropping_kills() -> Done {
    let fixture = mine();
    let marker = format!("sleep 7{:05}.25", std::process::id());
    let script = format!(": > /ready; {marker}");
    fixture
        .sh("auto", &["drop-when", "ready"], &script)
        .reports("dropped");
    assert_eq!(processes_with(&marker), []);
    Done::Passed
}

fn terminate_is_passed_on() -> Done {
    let fixture = mine();
    let script = "trap 'echo asked; exit 3' TERM; : > /ready; while :; do sleep 0.1; done";
    let outcome = fixture.sh("auto", &["terminate-when", "ready"], script);
    outcome.exited("Code(3)");
    assert_eq!(outcome.stdout, "asked\n");
    Done::Passed
}

fn death_of_the_builder_kills() -> Done {
    for (isolation, who) in [("auto", Who::Me), ("auto", test_user())] {
        let fixture = Fixture::new(who);
        let marker = format!("sleep 8{:05}.25", std::process::id());
        let script = format!("setsid {marker} & {marker}; true");
        let mut builder = fixture.start(isolation, &[], &["/bin/sh", "-c", &script]);
        wait_until(|| processes_with(&marker).len() == 2);
        builder.kill().unwrap();
        builder.wait().unwrap();
        wait_until(|| processes_with(&marker).is_empty());
    }
    Done::Passed
}

fn dangerous_calls_are_refused() -> Done {
    for (isolation, who) in [("auto", Who::Me), ("single", test_user())] {
        let fixture = Fixture::new(who);
        let fake: &[&str] = if isolation == "single" {
            &["fake"]
        } else {
            &[]
        };
        let outcome = probe(&fixture, isolation, fake, &["calls"]);
        let mut count = 0;
        for line in outcome.ok().lines() {
            let (name, errno) = line.split_once(' ').unwrap();
            let expected: &[i32] = match name {
                _ if WORKING.contains(&name) => &[0],
                "clone3" | "newer_than_the_table" | "x32_getpid" => &[libc::ENOSYS],
                _ => &[libc::EPERM],
            };
            assert!(expected.contains(&errno.parse().unwrap()), "{line}");
            count += 1;
        }
        assert!(count >= 42, "{count}");
        let outcome = probe(&fixture, isolation, fake, &["compat"]);
        // A kernel without 32-bit programs kills it by SIGSEGV.
        if !outcome.result.contains("Signal(11)") && cfg!(target_arch = "x86_64") {
            assert_eq!(outcome.ok(), "getpid 0\nmount 1\nunshare 1");
        }
    }
    Done::Passed
}

fn many_threads_spawn() -> Done {
    let fixture = mine();
    for name in ["dev", "proc", "sys"] {
        fs_err::create_dir(fixture.path("lower").join(name)).unwrap();
    }
    let options = ["directory", "no-stubs", "threads", "8", "repeat", "20"];
    fixture
        .run("auto", &options, &["/bin/true"])
        .exited("Code(0)");
    Done::Passed
}

fn subordinate_ids() -> Done {
    let who = test_user();
    if !has_program("newuidmap") {
        return Done::Skipped("needs newuidmap");
    }
    let fixture = Fixture::new(who);
    let script = "id -u; touch /f; chown 1234:4321 /f; stat -c %u:%g /f; mknod /n c 1 3 2>/dev/null && echo node; \
                  su ann -c 'id -u'; grep CapEff /proc/self/status; set -- /proc/[0-9]*; echo $#";
    let outcome = fixture.sh("subordinate", &[], script);
    outcome.reports("mode SubordinateIds");
    outcome.reports("device_nodes false");
    outcome.reports("overlay Kernel { userxattr: true }");
    // The processes are pid 1, the shell, and who answers for owners.
    assert_eq!(
        outcome.ok(),
        "0\n1234:4321\nnode\n1000\nCapEff:\t00000000a80425fb\n3"
    );
    let options = ["uid", "1000", "gid", "1000", "group", "7"];
    let outcome = fixture.sh(
        "subordinate",
        &options,
        "id -u; id -G; rm -f /etc/passwd 2>/dev/null || echo refused",
    );
    assert_eq!(outcome.ok(), "1000\n1000 7\nrefused");
    let outcome = fixture.sh("auto", &[], "rm -rf /etc; mkdir /etc; echo /etc/*");
    outcome.reports("mode SubordinateIds");
    assert_eq!(outcome.ok(), "/etc/*");
    Done::Passed
}

fn single_id() -> Done {
    let fixture = Fixture::new(test_user());
    // As root, who gives a file away and becomes somebody else.
    let script = "id -u; touch /f; chown 1234:4321 /f; echo $?; stat -c %u:%g /f; mknod /n c 1 3; echo $?; \
                  stat -c '%F %t:%T' /n; mknod /p p; stat -c %F /p; su ann -c 'id -u; touch /tmp/ann; ! chown 5 /f' 2>&1; \
                  stat -c %u /tmp/ann";
    let outcome = fixture.sh("single", &["fake"], script);
    outcome.reports("mode SingleId");
    outcome.reports("device_nodes false");
    assert_eq!(
        outcome.ok(),
        "0\n0\n1234:4321\n0\ncharacter special file 1:3\nfifo\n1000\nchown: /f: Operation not permitted\n1000"
    );
    // As somebody who is not root.
    let script = "id -u; id -G; mkdir /tmp/d; stat -c %u:%g /tmp/d; mknod /tmp/n c 1 3 2> /dev/null || echo refused; \
                  chown 0 /tmp/d 2> /dev/null || echo refused; stat -c %u /etc/passwd";
    let options = [
        "fake", "uid", "1000", "gid", "5", "group", "7", "group", "5",
    ];
    let outcome = fixture.sh("single", &options, script);
    assert_eq!(outcome.ok(), "1000\n5 7\n1000:5\nrefused\nrefused\n0");
    let outcome = fixture.sh("single", &["no-network", "fake"], "ls /sys/class/net");
    assert_eq!(outcome.ok(), "lo");
    Done::Passed
}

fn ordinary_user_is_isolated() -> Done {
    let who = test_user();
    for isolation in ["subordinate", "single"] {
        if isolation == "subordinate" && !has_program("newuidmap") {
            continue;
        }
        let fixture = Fixture::new(who);
        let fake: &[&str] = if isolation == "single" {
            &["fake"]
        } else {
            &[]
        };
        let script = "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /sys/kernel/uevent_seqnum \
                      /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do \
                      [ -f $f ] && (: >> $f) 2>/dev/null && echo $f; done; head -c 9 /proc/kcore | wc -c; \
                      ls /sys/firmware | wc -l; grep -c ' - sysfs' /proc/self/mountinfo; \
                      awk '$5 == \"/sys\" {print substr($6, 1, 2)}' /proc/self/mountinfo; echo /dev/*";
        let outcome = fixture.sh(isolation, fake, script);
        let devices = "/dev/core /dev/fd /dev/full /dev/mqueue /dev/null /dev/ptmx /dev/pts /dev/random \
                       /dev/shm /dev/stderr /dev/stdin /dev/stdout /dev/tty /dev/urandom /dev/zero";
        assert_eq!(
            outcome.ok(),
            format!("0\n0\n1\nro\n{devices}"),
            "{isolation}"
        );
    }
    Done::Passed
}

fn root_without_sys_admin() -> Done {
    if !is_root() || !has_program("setpriv") {
        return Done::Skipped("needs root and setpriv");
    }
    let fixture = Fixture::new(Who::WeakRoot);
    let script = "touch /f; chown 70000:4294967294 /f; stat -c %u:%g /f; su ann -c 'id -u'";
    let outcome = fixture.sh("auto", &[], script);
    outcome.reports("mode Identity");
    outcome.reports("overlay Kernel { userxattr: true }");
    assert_eq!(outcome.ok(), "70000:4294967294\n1000");
    let owner = fs_err::symlink_metadata(fixture.path("upper/f")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 70_000);
    Done::Passed
}

fn root_of_a_user_namespace() -> Done {
    let Who::User(uid, gid) = test_user() else {
        return Done::Skipped("needs root");
    };
    let fixture = Fixture::new(Who::Nested(uid, gid));
    let outcome = fixture.sh("auto", &["fake"], "touch /f; chown 1:2 /f; id -u");
    outcome.reports("mode SingleId");
    outcome.reports("device_nodes false");
    assert_eq!(outcome.ok(), "0");
    Done::Passed
}

fn wishes_that_cannot_be_granted() -> Done {
    let fixture = Fixture::new(test_user());
    let outcome = fixture.run("root", &[], &["/bin/true"]);
    outcome
        .reports("error isolation root is not possible: this process does not have CAP_SYS_ADMIN");
    let outcome = fixture.run("identity", &[], &["/bin/true"]);
    outcome.reports("error isolation identity is not possible");
    if is_root() {
        // A user without a name has no ranges; the note says what to do about it.
        let fixture = Fixture::new(Who::User(54_321, 54_321));
        let outcome = fixture.run("subordinate", &[], &["/bin/true"]);
        outcome.reports("/etc/subuid grants no ids to 54321; grant a range with `sudo usermod");
        let outcome = fixture.run("auto", &["fake"], &["/bin/true"]);
        outcome.reports("mode SingleId");
        outcome.reports("note Files in builds can only belong to one user");
        outcome.exited("Code(0)");
    }
    Done::Passed
}

/// Prints, and never judges: machines differ.
fn time_of_a_step() -> Done {
    for (isolation, who) in [("auto", Who::Me), ("auto", test_user())] {
        let fixture = Fixture::new(who);
        let outcome = fixture.run(isolation, &["repeat", "50"], &["/bin/true"]);
        println!("{}", outcome.result.trim_end());
    }
    Done::Passed
}

/// Runs the probe in the sandbox, with the host's libraries, which it is linked to.
fn probe(fixture: &Fixture, isolation: &str, options: &[&str], args: &[&str]) -> Outcome {
    let program = fixture.path("program").display().to_string();
    let mut all = options.to_vec();
    all.extend(["bind-ro", program.as_str(), "/probe"]);
    for libraries in ["/lib", "/lib64", "/usr/lib"] {
        if std::path::Path::new(libraries).is_dir() {
            all.extend(["bind-ro", libraries, libraries]);
        }
    }
    let argv: Vec<&str> = ["/probe", "as-probe"]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    fixture.run(isolation, &all, &argv)
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "it did not happen in 20 seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}
