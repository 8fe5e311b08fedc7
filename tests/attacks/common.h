// What the attacks share: how they say what came of them.
//
// An attack prints one line for each way it tried, "got out: WAY" or "held: WAY: ERROR", and ends
// with 0 when at least one got out, else with 1. 2: it could not even be tried.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int escapes;

static inline bool tried(const char *way, bool succeeded) {
    int error = errno;
    if (succeeded) {
        escapes++;
        printf("got out: %s\n", way);
    } else {
        printf("held: %s: %s\n", way, strerror(error));
    }
    fflush(stdout);
    return succeeded;
}

static inline int finish(void) { return escapes > 0 ? 0 : 1; }

static inline void give_up(const char *why) {
    printf("broken: %s: %s\n", why, strerror(errno));
    exit(2);
}

// Runs `way` in a child, so that being killed for it is an answer too.
static inline bool in_child(const char *name, bool (*way)(void *), void *argument) {
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) give_up("fork");
    if (child == 0) {
        errno = 0;
        bool result = way(argument);
        int error = errno;
        _exit(result ? 0 : (error > 0 && error < 255 ? error : 255));
    }
    int status;
    if (waitpid(child, &status, 0) != child) give_up("waitpid");
    if (WIFSIGNALED(status)) {
        printf("held: %s: killed by signal %d\n", name, WTERMSIG(status));
        fflush(stdout);
        return false;
    }
    errno = WEXITSTATUS(status);
    return tried(name, WEXITSTATUS(status) == 0);
}

struct mode {
    const char *name;
    int (*run)(char **arguments);
};

static inline int choose(const struct mode *modes, int count, char **argv) {
    for (int at = 0; argv[1] && at < count; at++)
        if (strcmp(argv[1], modes[at].name) == 0) return modes[at].run(argv + 2);
    fprintf(stderr, "unknown attack %s\n", argv[1] ? argv[1] : "");
    return 2;
}
