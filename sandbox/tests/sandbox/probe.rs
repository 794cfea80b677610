//! The probe that runs inside of the sandbox: makes system calls and prints what came of each.

use std::io;
use std::process::ExitCode;

pub(crate) fn main(args: &[String]) -> ExitCode {
    match args.first().map(String::as_str) {
        Some("calls") => calls(),
        Some("compat") => compat(),
        Some("abstract") => abstract_socket(&args[1]),
        other => panic!("probe {other:?}"),
    }
    ExitCode::SUCCESS
}

/// Name, number, arguments. None of them does harm if it gets through.
const CALLS: &[(&str, i64, [i64; 5])] = &[
    ("kexec_load", libc::SYS_kexec_load, [0; 5]),
    ("init_module", libc::SYS_init_module, [0; 5]),
    ("finit_module", libc::SYS_finit_module, [-1, 0, 0, 0, 0]),
    ("delete_module", libc::SYS_delete_module, [0; 5]),
    ("reboot", libc::SYS_reboot, [0; 5]),
    ("swapon", libc::SYS_swapon, [0; 5]),
    ("mount", libc::SYS_mount, [0; 5]),
    ("umount2", libc::SYS_umount2, [0, 2, 0, 0, 0]),
    ("pivot_root", libc::SYS_pivot_root, [0; 5]),
    ("bpf", libc::SYS_bpf, [0; 5]),
    (
        "perf_event_open",
        libc::SYS_perf_event_open,
        [0, 0, -1, -1, 0],
    ),
    ("userfaultfd", libc::SYS_userfaultfd, [0; 5]),
    ("keyctl", libc::SYS_keyctl, [0, -3, 1, 0, 0]),
    ("add_key", libc::SYS_add_key, [0, 0, 0, 1, -3]),
    ("request_key", libc::SYS_request_key, [0, 0, 0, -3, 0]),
    (
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        [-100, 0, 0, 0, 0],
    ),
    ("syslog", libc::SYS_syslog, [3, 0, 0, 0, 0]),
    ("settimeofday", libc::SYS_settimeofday, [0; 5]),
    ("acct", libc::SYS_acct, [0; 5]),
    ("quotactl", libc::SYS_quotactl, [0; 5]),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0, 0]),
    ("unshare", libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0]),
    ("clone_newuser", libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, [0; 5]),
    ("fsopen", libc::SYS_fsopen, [0; 5]),
    ("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0, 0]),
    ("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0, 0]),
    ("ptrace_pid1", libc::SYS_ptrace, [0x4206, 1, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
    ("socket_packet", libc::SYS_socket, [17, 3, 0, 0, 0]),
    ("socket_vsock", libc::SYS_socket, [40, 1, 0, 0, 0]),
    ("socket_alg", libc::SYS_socket, [38, 5, 0, 0, 0]),
    ("socket_rds", libc::SYS_socket, [21, 5, 0, 0, 0]),
    ("socket_tipc", libc::SYS_socket, [30, 2, 0, 0, 0]),
    (
        "personality",
        libc::SYS_personality,
        [0x0004_0000, 0, 0, 0, 0],
    ),
    ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0]),
    ("newer_than_the_table", 499, [0; 5]),
    // What must work.
    ("socket_inet", libc::SYS_socket, [2, 1, 0, 0, 0]),
    ("socket_unix", libc::SYS_socket, [1, 1, 0, 0, 0]),
    ("socket_netlink", libc::SYS_socket, [16, 3, 0, 0, 0]),
    (
        "personality_ask",
        libc::SYS_personality,
        [0xffff_ffff, 0, 0, 0, 0],
    ),
    ("getpid", libc::SYS_getpid, [0; 5]),
];

/// Names of [`CALLS`] that work.
pub(crate) const WORKING: [&str; 5] = [
    "socket_inet",
    "socket_unix",
    "socket_netlink",
    "personality_ask",
    "getpid",
];

fn calls() {
    for (name, number, args) in CALLS {
        let result = call(*number, *args);
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        println!("{name} {}", if result < 0 { errno } else { 0 });
    }
    #[cfg(target_arch = "x86_64")]
    for (name, number, args) in [
        ("iopl", libc::SYS_iopl, [3, 0, 0, 0, 0]),
        ("modify_ldt", libc::SYS_modify_ldt, [0; 5]),
        ("x32_getpid", 0x4000_0000 + libc::SYS_getpid, [0; 5]),
    ] {
        let result = call(number, args);
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        println!("{name} {}", if result < 0 { errno } else { 0 });
    }
}

#[expect(unsafe_code, reason = "system calls by number are what is tested")]
fn call(number: i64, [a, b, c, d, e]: [i64; 5]) -> i64 {
    // SAFETY: pointers are all null; the calls change nothing of this process's memory.
    unsafe { libc::syscall(number, a, b, c, d, e, 0_i64) }
}

/// System calls of the 32-bit interface from a 64-bit process.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "there is no other way to that interface")]
fn compat() {
    use std::arch::asm;
    for (name, number, argument) in [
        ("getpid", 20_i32, 0_u64),
        ("mount", 21, 0),
        ("unshare", 310, 0x1000_0000),
    ] {
        let result: i32;
        // SAFETY: the calls take no valid pointers and change no memory.
        unsafe {
            asm!(
                "xchg rbx, {argument}",
                "int 0x80",
                "xchg rbx, {argument}",
                argument = inout(reg) argument => _,
                inout("eax") number => result,
                in("ecx") 0,
                in("edx") 0,
                in("esi") 0,
                in("edi") 0,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        println!("{name} {}", if result < 0 { -result } else { 0 });
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn compat() {}

/// Connects to an abstract socket.
fn abstract_socket(name: &str) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixStream};
    let address = SocketAddr::from_abstract_name(name).unwrap();
    match UnixStream::connect_addr(&address) {
        Ok(_) => println!("connected"),
        Err(error) => println!("{}", error.raw_os_error().unwrap_or(0)),
    }
}
