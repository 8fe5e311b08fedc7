// Attacks on limited resources of the host: items 18 and 19. Each is bounded by its argument, so that
// it harms nobody if it is not held. It ends with 0 if it got all that it asked for.

#include "common.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <time.h>

static long amount(char **arguments) { return arguments[0] ? atol(arguments[0]) : 0; }

static int got(long had, long wanted) {
    printf("%ld of %ld\n", had, wanted);
    fflush(stdout);
    return had >= wanted ? 0 : 1;
}

// forks COUNT: that many processes at once; a failed fork is retried.
static int run_forks(char **arguments) {
    long wanted = amount(arguments), had = 0;
    int hold[2];
    if (pipe(hold)) give_up("pipe");
    for (long at = 0; at < 2 * wanted && had < wanted; at++) {
        pid_t child = fork();
        if (child == 0) {
            char byte;
            close(hold[1]);
            _exit(read(hold[0], &byte, 1));
        }
        had += child > 0;
    }
    int result = got(had, wanted);
    close(hold[1]);
    while (wait(NULL) > 0) continue;
    return result;
}

static void *hold_on(void *nothing) {
    pause();
    return nothing;
}

// threads COUNT.
static int run_threads(char **arguments) {
    long wanted = amount(arguments), had = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (long at = 0; at < wanted; at++) {
        pthread_t thread;
        had += pthread_create(&thread, &small, hold_on, NULL) == 0;
    }
    return got(had, wanted);
}

static long touch(char *at, long bytes) {
    for (long page = 0; page < bytes; page += 4096) at[page] = 1;
    return bytes;
}

// memory MIB [PROCESSES]: anonymous memory, touched; by several processes at once.
static int run_memory(char **arguments) {
    long wanted = amount(arguments), processes = arguments[1] ? atol(arguments[1]) : 1, had = 0;
    int tell[2], hold[2];
    if (pipe(tell) || pipe(hold)) give_up("pipe");
    for (long at = 0; at < processes; at++)
        if (fork() == 0) {
            close(hold[1]);
            for (long mib = 0; mib < wanted / processes; mib++) {
                char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (memory == MAP_FAILED) break;
                touch(memory, 1 << 20);
                if (write(tell[1], "x", 1) != 1) _exit(1);
            }
            close(tell[1]);
            char byte;
            _exit(read(hold[0], &byte, 1));
        }
    close(tell[1]);
    char byte;
    while (read(tell[0], &byte, 1) == 1) had++;
    int result = got(had, wanted / processes * processes);
    close(hold[1]);
    return result;
}

// shared KIND MIB: memory without an owning process: memfd, shm (System V), or a file's path.
static int run_shared(char **arguments) {
    const char *kind = arguments[0];
    long wanted = amount(arguments + 1), had = 0;
    char *block = calloc(1, 1 << 20);
    if (strcmp(kind, "shm") == 0) {
        for (; had < wanted; had++) {
            int id = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
            char *at = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
            if (id >= 0) shmctl(id, IPC_RMID, NULL);
            if (at == (void *)-1) break;
            touch(at, 1 << 20);
        }
        return got(had, wanted);
    }
    int fd = strcmp(kind, "memfd") == 0 ? memfd_create("fill", 0) : open(kind, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) give_up(kind);
    signal(SIGXFSZ, SIG_IGN);
    for (; had < wanted; had++) {
        // One growing descriptor, or one for each part: neither may exceed the limit.
        if (strcmp(kind, "memfd") == 0 && had % 8 == 7) fd = memfd_create("fill", 0);
        if (fd < 0 || write(fd, block, 1 << 20) != 1 << 20) break;
    }
    if (strcmp(kind, "memfd") != 0) unlink(kind);
    return got(had, wanted);
}

// file PATH MIB: one file, by writing, by truncation and by allocation.
static int run_file(char **arguments) {
    long wanted = amount(arguments + 1) << 20;
    signal(SIGXFSZ, SIG_IGN);
    int fd = open(arguments[0], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) give_up(arguments[0]);
    if (tried("ftruncate", ftruncate(fd, wanted) == 0)) ftruncate(fd, 0);
    tried("fallocate", fallocate(fd, 0, 0, wanted) == 0);
    tried("a write far on", pwrite(fd, "x", 1, wanted) == 1);
    unlink(arguments[0]);
    return finish();
}

// descriptors COUNT: that many open files.
static int run_descriptors(char **arguments) {
    long wanted = amount(arguments), had = 0;
    while (had < wanted && dup(0) >= 0) had++;
    return got(had, wanted);
}

// output KIB [PATH]: to standard output, or to the target of PATH.
static int run_output(char **arguments) {
    long wanted = amount(arguments), had = 0;
    char line[1024];
    memset(line, 'y', sizeof line);
    line[sizeof line - 1] = '\n';
    int fd = 1;
    if (arguments[1]) fd = strcmp(arguments[1], "0") == 0 ? 0 : open(arguments[1], O_WRONLY);
    for (; had < wanted; had++)
        if (write(fd, line, sizeof line) != sizeof line) break;
    fprintf(stderr, "%ld of %ld\n", had, wanted);
    return had >= wanted ? 0 : 1;
}

static void *refused_calls(void *nothing) {
    while (true) syscall(SYS_swapon, "/aegis-none", 0);
    return nothing;
}

static void *error_messages(void *nothing) {
    while (true)
        if (write(2, "", 0)) continue;
    return nothing;
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Writes to a file for how many milliseconds it has been running.
static void beat(const char *path, long seconds, bool waking, int begun) {
    long began = milliseconds();
    int fd = open(path, O_WRONLY | O_CREAT, 0666);
    alarm(seconds);
    while (true) {
        char text[32];
        // To everybody only in a pid namespace, where the parent has a low number.
        if (waking) kill(getppid() < 100 ? -1 : 0, SIGCONT);
        int length = snprintf(text, sizeof text, "%12ld\n", milliseconds() - began);
        if (pwrite(fd, text, length, 0) != length) _exit(1);
        close(begun);
    }
}

// last HOW SECONDS [FILE]: go on for that long, whatever happens. The alarm is for runs that
// are not held.
static int run_last(char **arguments) {
    const char *how = arguments[0];
    for (int number = 1; number < 32; number++)
        if (number != SIGALRM && number != SIGCHLD) signal(number, SIG_IGN);
    alarm(amount(arguments + 1));
    puts("begun");
    fflush(stdout);
    pthread_t thread;
    if (strcmp(how, "spin") == 0)
        while (true) continue;
    if (strcmp(how, "starve") == 0) {
        // The process that has to end all this gets the smallest share of the processors.
        struct sched_param none = {0};
        sched_setscheduler(1, SCHED_IDLE, &none);
        setpriority(PRIO_PROCESS, 1, 19);
        for (int at = 0; at < 16; at++)
            if (fork() == 0) {
                alarm(amount(arguments + 1));
                while (true) continue;
            }
        while (true) continue;
    }
    if (strcmp(how, "calls") == 0 || strcmp(how, "messages") == 0)
        for (int at = 0; at < 16; at++)
            pthread_create(&thread, NULL, how[0] == 'c' ? refused_calls : error_messages, NULL);
    if (strcmp(how, "output") == 0)
        while (write(1, how, 1) == 1) continue;
    if (strcmp(how, "stopped") == 0 || strcmp(how, "unstoppable") == 0) {
        // Others go on while the process that the launcher watches is stopped; for the second way, each of them
        // keeps the others going.
        int begun[2];
        char byte;
        if (pipe(begun)) give_up("pipe");
        for (int at = 0; at < 4; at++)
            if (fork() == 0) {
                setpgid(0, 0);
                beat(arguments[2], amount(arguments + 1), how[0] == 'u', begun[1]);
            }
        close(begun[1]);
        if (read(begun[0], &byte, 1) != 0) give_up("read");
        raise(SIGSTOP);
    }
    while (true) pause();
    return 0;
}

// inodes PATH COUNT: that many empty files.
static int run_inodes(char **arguments) {
    long wanted = amount(arguments + 1), had = 0;
    char path[256];
    for (; had < wanted; had++) {
        snprintf(path, sizeof path, "%s/aegis-%ld", arguments[0], had);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        if (fd < 0) break;
        close(fd);
    }
    for (long at = 0; at < had; at++) {
        snprintf(path, sizeof path, "%s/aegis-%ld", arguments[0], at);
        unlink(path);
    }
    return got(had, wanted);
}

// stacks MIB: memory in mappings that grow like stacks.
static int run_stacks(char **arguments) {
    long wanted = amount(arguments), had = 0;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN;
    for (; had < wanted; had++) {
        char *at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (at == MAP_FAILED) break;
        touch(at, 1 << 20);
    }
    return got(had, wanted);
}

// pending COUNT: that many timers, each of which keeps a signal.
static int run_pending(char **arguments) {
    long wanted = amount(arguments), had = 0;
    timer_t timer;
    while (had < wanted && timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0) had++;
    return got(had, wanted);
}

// inotify COUNT: that many instances.
static int run_inotify(char **arguments) {
    long wanted = amount(arguments), had = 0;
    while (had < wanted && inotify_init1(0) >= 0) had++;
    return got(had, wanted);
}

// aio COUNT: that many requests at one time, out of what the whole machine has.
static int run_aio(char **arguments) {
    unsigned long context = 0;
    long wanted = amount(arguments);
    return got(syscall(SYS_io_setup, wanted, &context) == 0 ? wanted : 0, wanted);
}

// locked MIB: memory that cannot be swapped out, which the kernel counts for the user.
static int run_locked(char **arguments) {
    long wanted = amount(arguments), had = 0;
    int made[64];
    for (; had < wanted && had < 64; had++) {
        made[had] = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
        if (made[had] < 0) break;
        if (shmctl(made[had], SHM_LOCK, NULL) != 0) {
            shmctl(made[had], IPC_RMID, NULL);
            break;
        }
    }
    for (long at = 0; at < had; at++) shmctl(made[at], IPC_RMID, NULL);
    return got(had, wanted);
}

// terminals COUNT: that many pseudo-terminals, out of what the whole machine has.
static int run_terminals(char **arguments) {
    long wanted = amount(arguments), had = 0;
    while (had < wanted && posix_openpt(O_RDWR | O_NOCTTY) >= 0) had++;
    return got(had, wanted);
}

// sockets MIB: sent over connections to itself, and not read.
static int run_sockets(char **arguments) {
    static char block[1 << 16];
    long wanted = amount(arguments) << 20, had = 0;
    int most = 64 << 20, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    if (bind(listener, (void *)&at, length) != 0 || listen(listener, 16) != 0) return got(0, wanted);
    getsockname(listener, (void *)&at, &length);
    for (int connection = 0; connection < 100 && had < wanted; connection++) {
        int from = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(from, SOL_SOCKET, SO_SNDBUF, &most, sizeof most);
        if (connect(from, (void *)&at, length) != 0 || accept(listener, NULL, NULL) < 0) break;
        fcntl(from, F_SETFL, O_NONBLOCK);
        for (ssize_t sent; had < wanted && (sent = send(from, block, sizeof block, 0)) > 0;) had += sent;
    }
    return got(had, wanted);
}

// lease PATH: whoever opens that file waits.
static int run_lease(char **arguments) {
    int fd = open(arguments[0], O_RDONLY | O_CREAT, 0600);
    return got(fd >= 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0, 1);
}

static long spun(struct timespec *until) {
    struct timespec now;
    long rounds = 0;
    do {
        rounds++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec < until->tv_nsec));
    return rounds;
}

// processors COUNT: the processor time that many processes get in a second, in percent.
static int run_processors(char **arguments) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    for (long at = 0; at < amount(arguments); at++)
        if (fork() == 0) _exit(spun(&until) == 0);
    while (wait(NULL) > 0) continue;
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    long percent = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 100 +
                   (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 10000;
    printf("percent: %ld\n", percent);
    return 0;
}

// limits: raise those of this process and of PID 1; leave or make a control group.
static int run_limits(char **arguments) {
    (void)arguments;
    struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY}, before;
    static const int kinds[] = {RLIMIT_NPROC, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE};
    for (int at = 0; at < 4; at++) {
        getrlimit(kinds[at], &before);
        if (before.rlim_max == RLIM_INFINITY) continue;
        tried("raising a limit", setrlimit(kinds[at], &most) == 0);
    }
    static const char *groups[] = {
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/pids/tasks",
        "/sys/fs/cgroup/unified/cgroup.procs",
        "/proc/1/root/sys/fs/cgroup/pids/tasks",
    };
    for (size_t at = 0; at < sizeof groups / sizeof *groups; at++)
        tried(groups[at], open(groups[at], O_WRONLY) >= 0);
    tried("making a group", mkdir("/sys/fs/cgroup/pids/aegis-none", 0755) == 0);
    if (escapes) rmdir("/sys/fs/cgroup/pids/aegis-none");
    return finish();
}

int main(int count, char **argv) {
    (void)count;
    static const struct mode modes[] = {
        {"forks", run_forks},   {"threads", run_threads},         {"memory", run_memory},
        {"shared", run_shared}, {"file", run_file},               {"descriptors", run_descriptors},
        {"output", run_output}, {"last", run_last},               {"processors", run_processors},
        {"limits", run_limits}, {"inodes", run_inodes},           {"stacks", run_stacks},
        {"pending", run_pending},     {"aio", run_aio},
        {"lease", run_lease},   {"inotify", run_inotify},         {"locked", run_locked},
        {"terminals", run_terminals}, {"sockets", run_sockets},
    };
    return choose(modes, sizeof modes / sizeof *modes, argv);
}
