// Attacks on other processes and through the kernel: items 6 and 10 to 17.

#include "common.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <mqueue.h>
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <termios.h>

// --- Terminals ---------------------------------------------------------------------------

// inject: input for the shell outside, in every spelling of the request.
static int run_inject(char **arguments) {
    (void)arguments;
    static const struct {
        const char *way;
        unsigned long request;
    } requests[] = {
        {"TIOCSTI", 0x5412},
        {"TIOCSTI with bit 32", 0x100005412},
        {"TIOCSTI with all high bits", 0xffffffff00005412},
        {"TIOCSTI with the sign bit of the high half", 0x8000000000005412},
    };
    int tty = open("/dev/tty", O_RDWR);
    int fds[] = {0, tty};
    for (size_t at = 0; at < sizeof requests / sizeof *requests; at++)
        for (int which = 0; which < 2; which++)
            tried(requests[at].way, syscall(SYS_ioctl, fds[which], requests[at].request, "!") == 0);
    // Selecting and pasting, on a virtual console. Other drivers say that they are not one.
    char paste = 3;
    tried("TIOCLINUX reaches the driver",
          syscall(SYS_ioctl, 0, 0x541cUL, &paste) == 0 || errno == ENOTTY || errno == EINVAL);
    tried("TIOCLINUX with high bits reaches the driver",
          syscall(SYS_ioctl, 0, 0x70000000541cUL, &paste) == 0 || errno == ENOTTY || errno == EINVAL);
    return finish();
}

// --- Namespaces and other ways into the kernel -------------------------------------------

static bool by_unshare(void *flags) { return syscall(SYS_unshare, *(unsigned long *)flags) == 0; }

static bool reaped(long child) {
    if (child == 0) _exit(0);
    if (child > 0) waitpid(child, NULL, __WALL);
    return child > 0;
}

static bool by_clone(void *flags) {
    return reaped(syscall(SYS_clone, *(unsigned long *)flags | SIGCHLD, 0, 0, 0, 0));
}

static bool by_clone3(void *flags) {
    struct clone_args args = {.flags = *(unsigned long *)flags, .exit_signal = SIGCHLD};
    return reaped(syscall(SYS_clone3, &args, sizeof args));
}

// namespaces: new ones, with and without garbage in the high half of the flags.
static int run_namespaces(char **arguments) {
    (void)arguments;
    unsigned long user = CLONE_NEWUSER, all = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID;
    unsigned long garbage = 0xdeadbeef00000000 | CLONE_NEWUSER, other = 0x4141414100000000 | all;
    in_child("unshare", by_unshare, &user);
    in_child("unshare of several", by_unshare, &all);
    in_child("unshare with high bits", by_unshare, &garbage);
    in_child("clone", by_clone, &user);
    in_child("clone with high bits", by_clone, &garbage);
    in_child("clone of several with high bits", by_clone, &other);
    in_child("clone3", by_clone3, &user);
    in_child("clone3 of several", by_clone3, &all);
    return finish();
}

static bool by_int80(void *nothing) {
    (void)nothing;
    long pid = 20; // getpid
    __asm__ volatile("int $0x80" : "+a"(pid)::"memory");
    errno = ENOSYS;
    return pid == getpid();
}

static bool by_int80_mount(void *nothing) {
    (void)nothing;
    long result = 21; // mount
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L) : "memory");
    errno = result < 0 ? -result : 0;
    return result != -EPERM && result != -ENOSYS;
}

static bool by_x32(void *nothing) {
    (void)nothing;
    // Any answer, even ENOSYS, means that the kernel was asked.
    return syscall(0x40000000 | SYS_getpid) > 0 || errno == ENOSYS;
}

// entries: other ways into the kernel.
static int run_entries(char **arguments) {
    in_child("int 0x80", by_int80, NULL);
    if (arguments[0]) in_child("mount by int 0x80", by_int80_mount, NULL);
    in_child("an x32 number", by_x32, NULL);
    return finish();
}

// setns: into a namespace by descriptor, even the current one.
static int run_setns(char **arguments) {
    (void)arguments;
    const char *names[] = {"net", "mnt", "uts", "ipc", "cgroup"};
    char path[64];
    for (int at = 0; at < 5; at++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[at]);
        int fd = open(path, O_RDONLY);
        tried(path, fd >= 0 && syscall(SYS_setns, fd, 0) == 0);
        close(fd);
    }
    int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
    tried("a pidfd", pidfd >= 0 && syscall(SYS_setns, pidfd, CLONE_NEWUTS) == 0);
    return finish();
}

// call NAME: a system call with harmless arguments; got out if the kernel's own code for it
// was reached, whatever it returned.
static int run_call(char **names) {
    static const char attributes[128];
    static const struct {
        const char *name;
        long number;
        unsigned long arguments[5];
    } calls[] = {
        {"io_uring_setup", SYS_io_uring_setup, {1, 0}},
        {"keyctl", SYS_keyctl, {0, -3UL, 0}},
        {"add_key", SYS_add_key, {0, 0, 0, 0, 0}},
        {"request_key", SYS_request_key, {0, 0, 0, 0}},
        {"bpf", SYS_bpf, {0, (unsigned long)attributes, sizeof attributes}},
        {"perf_event_open", SYS_perf_event_open, {(unsigned long)attributes, 0, -1UL, -1UL, 0}},
        {"userfaultfd", SYS_userfaultfd, {1}},
        {"kexec_load", SYS_kexec_load, {0, 17, 0, 0}},
        {"kexec_file_load", SYS_kexec_file_load, {-1UL, -1UL, 0, 0, 0x1000}},
        {"init_module", SYS_init_module, {0, 0, 0}},
        {"finit_module", SYS_finit_module, {-1UL, 0, 0}},
        {"delete_module", SYS_delete_module, {(unsigned long)"aegis_none", 0x800}},
        {"mount", SYS_mount, {0, (unsigned long)"/aegis-none", 0, 0, 0}},
        {"umount2", SYS_umount2, {(unsigned long)"/aegis-none", 0}},
        {"fsopen", SYS_fsopen, {(unsigned long)"aegis-none", 0}},
        {"open_tree", SYS_open_tree, {-100UL, (unsigned long)"/aegis-none", 1}},
        {"pivot_root", SYS_pivot_root, {(unsigned long)"/aegis-none", (unsigned long)"/aegis-none"}},
        {"chroot", SYS_chroot, {(unsigned long)"/aegis-none"}},
        {"swapon", SYS_swapon, {(unsigned long)"/aegis-none", 0}},
        {"settimeofday", SYS_settimeofday, {0, (unsigned long)"\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f"}},
        {"syslog", SYS_syslog, {10, 0, 0}},
        {"sethostname", SYS_sethostname, {0, 4096}},
        {"reboot", SYS_reboot, {0, 0, 0, 0}},
        {"iopl", SYS_iopl, {4}},
        {"ioperm", SYS_ioperm, {1UL << 40, 1, 1}},
        {"quotactl", SYS_quotactl, {-1UL, 0, 0, 0}},
        {"acct", SYS_acct, {(unsigned long)"/aegis-none"}},
        {"open_by_handle_at", SYS_open_by_handle_at, {-100UL, 0, 0}},
        {"fanotify_init", SYS_fanotify_init, {~0U, 0}},
        {"modify_ldt", SYS_modify_ldt, {0, 0, 0}},
        {"memfd_secret", SYS_memfd_secret, {~0U}},
        {"adjtimex", SYS_adjtimex, {0}},
        {"clone3", SYS_clone3, {0, 0}},
        {"openat2", SYS_openat2, {-100UL, 0, 0, 0}},
        {"personality READ_IMPLIES_EXEC", SYS_personality, {0x0400000}},
        {"seccomp with a listener", SYS_seccomp, {1, 8, 0}},
    };
    for (; *names; names++)
        for (size_t at = 0; at < sizeof calls / sizeof *calls; at++) {
            if (strcmp(calls[at].name, *names) != 0) continue;
            const unsigned long *a = calls[at].arguments;
            errno = 0;
            long result = syscall(calls[at].number, a[0], a[1], a[2], a[3], a[4]);
            bool refused = result < 0 && (errno == EPERM || errno == ENOSYS || errno == EBUSY);
            tried(*names, !refused);
        }
    return finish();
}

// --- Other processes -----------------------------------------------------------------------

// reach PID: inspect and control a process.
static int run_reach(char **arguments) {
    pid_t pid = atoi(arguments[0]);
    char path[64], byte[8];
    static const char *files[] = {"mem", "environ", "maps", "auxv", "stack"};
    for (size_t at = 0; at < sizeof files / sizeof *files; at++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[at]);
        int fd = open(path, O_RDONLY);
        // Some refuse only when they are read; page 0 of memory is never mapped.
        ssize_t got = fd < 0 ? -1 : read(fd, byte, sizeof byte);
        tried(path, got > 0 || (at == 0 && fd >= 0));
        close(fd);
    }
    static const char *links[] = {"root", "cwd", "exe", "fd/0", "fd/1", "ns/mnt"};
    for (size_t at = 0; at < sizeof links / sizeof *links; at++) {
        char target[256];
        snprintf(path, sizeof path, "/proc/%d/%s", pid, links[at]);
        tried(path, readlink(path, target, sizeof target) > 0);
    }
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int fd = open(path, O_RDONLY);
    tried("opening its program", fd >= 0);
    struct iovec here = {byte, sizeof byte}, there = {(void *)0x400000, sizeof byte};
    tried("process_vm_readv", syscall(SYS_process_vm_readv, pid, &here, 1, &there, 1, 0) > 0 || errno == EFAULT);
    tried("process_vm_writev", syscall(SYS_process_vm_writev, pid, &here, 1, &there, 1, 0) > 0 || errno == EFAULT);
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    for (int at = 0; at < 8 && pidfd >= 0; at++)
        if (syscall(SYS_pidfd_getfd, pidfd, at, 0) >= 0) tried("pidfd_getfd", true);
    tried("kcmp", syscall(SYS_kcmp, getpid(), pid, 0, 0, 0) >= 0);
    bool seized = ptrace(PTRACE_SEIZE, pid, 0, 0) == 0;
    tried("PTRACE_SEIZE", seized);
    if (seized) ptrace(PTRACE_DETACH, pid, 0, 0);
    return finish();
}

// Signals are sent to everybody only outside the test's own machine: the test passes the
// number of the host's pid namespace.
static bool on_host(const char *host) {
    char name[64] = "";
    if (readlink("/proc/self/ns/pid", name, sizeof name - 1) <= 0) return true;
    return strcmp(name, host) == 0;
}

// signals HOST-NAMESPACE PID...: to those processes, to the process group, to everybody.
static int run_signals(char **arguments) {
    const char *host = arguments[0];
    signal(SIGTERM, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    for (char **pid = arguments + 1; *pid; pid++) {
        tried("kill", kill(atoi(*pid), SIGTERM) == 0);
        int pidfd = syscall(SYS_pidfd_open, atoi(*pid), 0);
        tried("pidfd_send_signal", pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, 0, 0) == 0);
        tried("tgkill", syscall(SYS_tgkill, atoi(*pid), atoi(*pid), SIGTERM) == 0);
        tried("killpg", killpg(atoi(*pid), SIGTERM) == 0);
    }
    // The kernel chooses the targets: the test checks who is left.
    printf("kill(0): %d\n", kill(0, SIGTERM));
    if (!on_host(host)) {
        printf("kill(-1): %d\n", kill(-1, SIGTERM));
        printf("kill(1): %d\n", kill(1, SIGKILL));
        printf("kill(parent): %d\n", getppid() > 0 ? kill(getppid(), SIGKILL) : -1);
    }
    return finish();
}

// --- What is shared by key or name ---------------------------------------------------------

// ipc KEY NAME: segments and queues of the host.
static int run_ipc(char **arguments) {
    int id = shmget(atoi(arguments[0]), 1, 0);
    char *seen = id < 0 ? (void *)-1 : shmat(id, NULL, SHM_RDONLY);
    tried("System V shared memory", seen != (void *)-1 && strcmp(seen, "host") == 0);
    mqd_t queue = mq_open(arguments[1], O_RDONLY);
    tried("a POSIX message queue", queue >= 0);
    int fd = shm_open(arguments[1], O_RDONLY, 0);
    tried("POSIX shared memory", fd >= 0);
    return finish();
}

static bool greeted(int sock) {
    char byte = 'x';
    return send(sock, &byte, 1, MSG_NOSIGNAL) == 1;
}

// unix PATH DGRAM-PATH ABSTRACT: sockets that somebody on the host listens on.
static int run_unix(char **arguments) {
    struct sockaddr_un stream = {.sun_family = AF_UNIX}, dgram = stream, abstract = stream;
    strncpy(stream.sun_path, arguments[0], sizeof stream.sun_path - 1);
    strncpy(dgram.sun_path, arguments[1], sizeof dgram.sun_path - 1);
    strncpy(abstract.sun_path + 1, arguments[2], sizeof abstract.sun_path - 2);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(arguments[2]);

    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    tried("a path", connect(sock, (void *)&stream, sizeof stream) == 0 && greeted(sock));
    sock = socket(AF_UNIX, SOCK_STREAM, 0);
    tried("an abstract name", connect(sock, (void *)&abstract, length) == 0 && greeted(sock));
    sock = syscall(SYS_socket, 0xabcd00000000UL | AF_UNIX, SOCK_STREAM, 0);
    tried("a family with high bits", connect(sock, (void *)&stream, sizeof stream) == 0 && greeted(sock));
    sock = socket(AF_UNIX, SOCK_DGRAM, 0);
    tried("a datagram", sendto(sock, "x", 1, 0, (void *)&dgram, sizeof dgram) == 1);

    // A pair is connected already, but a datagram socket may be connected again.
    int kinds[] = {SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, SOCK_SEQPACKET};
    const char *names[] = {"a datagram pair", "a raw pair", "a stream pair", "a seqpacket pair"};
    for (int at = 0; at < 4; at++) {
        int pair[2] = {-1, -1};
        if (socketpair(AF_UNIX, kinds[at], 0, pair) != 0) {
            tried(names[at], false);
            continue;
        }
        struct sockaddr none = {.sa_family = AF_UNSPEC};
        char byte;
        // Where an address is ignored, the message comes to the pair's other end.
        bool sent = sendto(pair[0], "x", 1, MSG_NOSIGNAL, (void *)&dgram, sizeof dgram) == 1 &&
                    recv(pair[1], &byte, 1, MSG_DONTWAIT) != 1;
        bool connected = connect(pair[0], (void *)&dgram, sizeof dgram) == 0;
        close(pair[1]);
        connect(pair[0], &none, sizeof none);
        bool later = connect(pair[0], (void *)(at < 2 ? &dgram : &stream), sizeof stream) == 0;
        tried(names[at], sent || connected || later);
        close(pair[0]);
    }
    return finish();
}

// --- Privileges ------------------------------------------------------------------------------

static bool privileged(const char *task) {
    char path[300], line[256];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "r");
    bool any = !file;
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "Cap", 3) == 0 && strtoull(line + 8, NULL, 16) != 0) any = true;
        if (strncmp(line, "NoNewPrivs:\t0", 13) == 0) any = true;
    }
    if (file) fclose(file);
    errno = EPERM;
    return any;
}

static void *wait_forever(void *nothing) {
    pause();
    return nothing;
}

// privileges: those of this process, of all its threads, and what it can add.
static int run_privileges(char **arguments) {
    (void)arguments;
    char self[32];
    snprintf(self, sizeof self, "%d", getpid());
    tried("capabilities, or the right to gain them", privileged(self));
    tried("the ambient set", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
    tried("securebits", prctl(PR_SET_SECUREBITS, 0) == 0);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    tried("capset", syscall(SYS_capset, &header, data) == 0);
    tried("setuid(0)", getuid() != 0 && setuid(0) == 0);
    pthread_t thread;
    char name[32];
    if (pthread_create(&thread, NULL, wait_forever, NULL)) give_up("pthread_create");
    for (int tid = getpid(); tid < getpid() + 8; tid++) {
        snprintf(name, sizeof name, "/proc/self/task/%d", tid);
        if (tid == getpid() || access(name, F_OK) != 0) continue;
        snprintf(name, sizeof name, "%d", tid);
        tried("a thread", privileged(name));
    }
    return finish();
}

// report-privileges UID: executed with a set-user-id bit or file capabilities.
static int run_gained(char **arguments) {
    char line[256];
    bool any = false;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) give_up("/proc/self/status");
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "CapEff", 6) == 0 || strncmp(line, "CapPrm", 6) == 0)
            any |= strtoull(line + 8, NULL, 16) != 0;
    (void)arguments;
    errno = EPERM;
    tried("a capability", any);
    tried("another user", geteuid() != getuid());
    return finish();
}

static int run_gain(char **programs) {
    for (; *programs; programs++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            execl(*programs, "attack", "gained", (char *)NULL);
            printf("held: %s: %s\n", *programs, strerror(errno));
            exit(1);
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) escapes++;
    }
    return finish();
}

// crash: does a core dump reach the host's handler? A handler behind a pipe is called whatever the limit,
// except for the value 1; a program may lower it again.
static int run_crash(char **arguments) {
    (void)arguments;
    struct rlimit limit, none = {0, 0};
    getrlimit(RLIMIT_CORE, &limit);
    errno = 0;
    tried("the limit lets a handler be called", limit.rlim_cur != 1);
    none.rlim_max = limit.rlim_max;
    setrlimit(RLIMIT_CORE, &none);
    syscall(SYS_setrlimit, RLIMIT_CORE, &none);
    syscall(SYS_prlimit64, getpid(), 0x4100000000UL | RLIMIT_CORE, &none, NULL);
    getrlimit(RLIMIT_CORE, &limit);
    tried("the limit can be lowered so that it does", limit.rlim_cur != 1);
    return finish();
}

// --- Orphans -----------------------------------------------------------------------------------

// orphan MARK [stay]: leave processes behind that are hard to find and end.
static int run_orphan(char **arguments) {
    for (int kind = 0; kind < 3; kind++) {
        int ready[2];
        if (pipe2(ready, O_CLOEXEC)) give_up("pipe");
        if (fork() == 0) {
            setsid();
            if (fork() == 0) {
                for (int number = 1; number < 32; number++) signal(number, SIG_IGN);
                prctl(PR_SET_PDEATHSIG, 0);
                prctl(PR_SET_DUMPABLE, 0);
                if (kind == 1) prctl(PR_SET_CHILD_SUBREAPER, 1);
                int null = open("/dev/null", O_RDWR);
                dup2(null, 0), dup2(null, 1), dup2(null, 2);
                if (kind == 2) {
                    execl("/proc/self/exe", arguments[0], "linger", arguments[0], (char *)NULL);
                    _exit(1);
                }
                close(ready[0]), close(ready[1]);
                if (kind == 0) raise(SIGSTOP);
                while (true) pause();
            }
            _exit(0);
        }
        close(ready[1]);
        char byte;
        if (read(ready[0], &byte, 1) != 0) give_up("read");
        close(ready[0]);
    }
    puts("left behind");
    fflush(stdout);
    if (arguments[1])
        while (true) pause();
    return 0;
}

static int run_linger(char **arguments) {
    (void)arguments;
    while (true) pause();
    return 0;
}

int main(int count, char **argv) {
    (void)count;
    static const struct mode modes[] = {
        {"inject", run_inject},   {"namespaces", run_namespaces}, {"entries", run_entries},
        {"setns", run_setns},     {"call", run_call},             {"reach", run_reach},
        {"signals", run_signals}, {"ipc", run_ipc},               {"unix", run_unix},
        {"privileges", run_privileges}, {"gain", run_gain},       {"gained", run_gained},
        {"crash", run_crash},     {"orphan", run_orphan},   {"linger", run_linger},
    };
    return choose(modes, sizeof modes / sizeof *modes, argv);
}
