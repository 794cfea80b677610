/* What a hostile step tries, by system calls. Built statically by the tests, run in RUN steps. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static int die(const char *what) {
    perror(what);
    return 1;
}

static int connect_to(const char *path, size_t length) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, path, length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&name, offsetof(struct sockaddr_un, sun_path) + length) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Sends a directory through a socket, waits until it has arrived, and ends. */
static int lend(const char *socket_path, const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY), peer;
    if (fd < 0) return die(path);
    for (int tries = 0; (peer = connect_to(socket_path, strlen(socket_path))) < 0; tries++) {
        if (tries > 400) return die("connect");
        usleep(50000);
    }
    char byte = 0, control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (sendmsg(peer, &message, 0) != 1) return die("sendmsg");
    return read(peer, &byte, 1) == 1 ? 0 : die("read");
}

/* Takes a directory from a socket and, once its owner has ended, changes a file in it. */
static int take(const char *socket_path, const char *file, const char *when) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strncpy(name.sun_path, socket_path, sizeof name.sun_path - 1);
    unlink(socket_path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 1) != 0) return die("bind");
    int peer = accept(listener, NULL, NULL), directory;
    char byte, control[CMSG_SPACE(sizeof directory)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(peer, &message, 0) != 1) return die("recvmsg");
    memcpy(&directory, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof directory);
    int is_early = strcmp(when, "early") == 0, fd = -1;
    if (is_early) fd = openat(directory, file, O_WRONLY);
    if (write(peer, "x", 1) != 1) return die("write");
    /* The peer is gone when the step is; its files are packed then. */
    if (read(peer, &byte, 1) != 0) return die("peer");
    sleep(2);
    if (!is_early) fd = openat(directory, file, O_WRONLY | O_TRUNC);
    if (fd < 0) {
        printf("refused: %s\n", strerror(errno));
        return 0;
    }
    printf(write(fd, "evil\n", 5) == 5 ? "written\n" : "not written\n");
    return 0;
}

static void say(const char *name, long result) {
    printf("%s %s\n", name, result >= 0 ? "worked" : strerrorname_np(errno));
}

/* With "identity" a name that the kernel may refuse for different reasons is only told as refused. */
static void try_open(const char *path, int flags) {
    int fd = open(path, flags);
    printf("%s %s\n", path, fd < 0 ? "refused" : "opened");
    if (fd >= 0) close(fd);
}

/* Where devices cannot be made an empty file stands for one: it opens, and nothing is in it. */
static void try_device(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY);
    int is_harmless = fd < 0 || read(fd, &byte, 1) == 0;
    printf("%s %s\n", path, is_harmless ? "refused" : "opened");
    if (fd >= 0) close(fd);
}

static int attack(const char *abstract) {
    char name[108] = {0};
    int n = 0, pid1 = (int)syscall(SYS_pidfd_open, 1, 0);
    for (int fd = 3; fd < 4096; fd++) n += fd != pid1 && fcntl(fd, F_GETFD) >= 0;
    printf("inherited descriptors %d\n", n);
    for (int fd = 0; fd < 3; fd++) say("TIOCSTI", ioctl(fd, TIOCSTI, "x"));
    try_open("/dev/tty", O_RDWR);
    say("userfaultfd", syscall(SYS_userfaultfd, 0));
    say("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
    say("bpf", syscall(SYS_bpf, 0, NULL, 0));
    say("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    say("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0));
    say("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    say("add_key", syscall(SYS_add_key, "user", "x", "x", 1, -3));
    say("request_key", syscall(SYS_request_key, "user", "x", NULL, 0));
    say("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    say("unshare", syscall(SYS_unshare, 0x10000000));
    say("setns", syscall(SYS_setns, pid1, 0x20000));
    say("mount", syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL));
    say("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
    say("ptrace", syscall(SYS_ptrace, 16, 1, NULL, NULL));
    say("pidfd_getfd", syscall(SYS_pidfd_getfd, pid1, 0, 0));
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    say("process_vm_readv", process_vm_readv(1, &here, 1, &there, 1, 0));
    say("AF_PACKET", socket(17, SOCK_RAW, 0));
    say("AF_ALG", socket(38, SOCK_SEQPACKET, 0));
    say("AF_VSOCK", socket(40, SOCK_STREAM, 0));
    const char *init[] = {"mem", "environ", "maps", "exe", "root/etc", "cwd", "fd/0", "task/1/mem"};
    for (unsigned i = 0; i < sizeof init / sizeof *init; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/1/%s", init[i]);
        try_open(path, O_RDONLY);
    }
    kill(1, SIGKILL);
    kill(1, SIGSEGV);
    const char *host[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
                          "/proc/sys/vm/overcommit_memory", "/sys/kernel/uevent_helper", "/sys/power/state"};
    for (unsigned i = 0; i < sizeof host / sizeof *host; i++) try_open(host[i], O_WRONLY);
    const char *devices[] = {"/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/sda",
                             "/dev/vda", "/dev/loop-control", "/dev/console"};
    for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++) try_open(devices[i], O_RDONLY);
    /* Whoever may make a device can do nothing with it. */
    mknod("/made", S_IFCHR | 0666, makedev(1, 1));
    mknod("/dev/shm/made", S_IFCHR | 0666, makedev(1, 1));
    try_device("/made");
    try_device("/dev/shm/made");
    unlink("/made");
    /* An abstract socket's name begins with a zero byte. */
    strncpy(name + 1, abstract, sizeof name - 2);
    say("abstract socket", connect_to(name, 1 + strlen(abstract)));
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "lend") == 0) return lend(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "take") == 0) return take(argv[2], argv[3], argv[4]);
    if (argc == 3 && strcmp(argv[1], "attack") == 0) return attack(argv[2]);
    return 2;
}
