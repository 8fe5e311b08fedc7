// Attacks from within `sockets: private`: item 15.

#include "common.h"

#include <netinet/in.h>
#include <pthread.h>

static struct sockaddr_un named(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return address;
}

// Whether a socket is connected to the one that is bound to `path`.
static bool reached(int sock, const char *path) {
    struct sockaddr_un peer = {0};
    socklen_t length = sizeof peer;
    return getpeername(sock, (void *)&peer, &length) == 0 && strcmp(peer.sun_path, path) == 0;
}

static bool connects(const char *to, const char *path) {
    struct sockaddr_un address = named(to);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    connect(sock, (void *)&address, sizeof address);
    int error = errno;
    bool there = reached(sock, path);
    close(sock);
    errno = error;
    return there;
}

// spellings WORK NAME ABSTRACT: a socket of the host in a granted directory, by every way to its path.
static int run_spellings(char **arguments) {
    const char *work = arguments[0], *name = arguments[1];
    char path[300], other[300];
    snprintf(path, sizeof path, "%s/%s", work, name);
    tried("its path", connects(path, path));
    char own[] = "/tmp/spellings-XXXXXX";
    if (!mkdtemp(own)) give_up("mkdtemp");
    snprintf(other, sizeof other, "%s/link", own);
    tried("a link to it", symlink(path, other) == 0 && connects(other, path));
    snprintf(other, sizeof other, "%s/directory", own);
    if (symlink(work, other) != 0) give_up("symlink");
    snprintf(other, sizeof other, "%s/directory/%s", own, name);
    tried("a link to its directory", connects(other, path));
    snprintf(other, sizeof other, "%s/hard", own);
    tried("a hard link", link(path, other) == 0 && connects(other, path));
    snprintf(other, sizeof other, "%s/../..%s", own, path);
    tried("up from a private place", connects(other, path));
    snprintf(other, sizeof other, "/proc/self/root%s", path);
    tried("/proc/self/root", connects(other, path));
    snprintf(other, sizeof other, "/proc/self/fd/%d/%s", open(work, O_PATH), name);
    tried("/proc/self/fd", connects(other, path));
    snprintf(other, sizeof other, "%s/root", own);
    if (symlink("/proc/self/root", other) != 0) give_up("symlink");
    snprintf(other, sizeof other, "%s/root%s", own, path);
    tried("a link to /proc/self/root", connects(other, path));
    if (chdir(work) != 0) give_up("chdir");
    tried("its name alone", connects(name, path));
    snprintf(other, sizeof other, "/proc/self/cwd/%s", name);
    tried("/proc/self/cwd", connects(other, path));
    if (chdir(own) != 0) give_up("chdir");
    snprintf(other, sizeof other, "../..%s", path);
    tried("a relative path", connects(other, path));

    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    strncpy(abstract.sun_path + 1, arguments[2], sizeof abstract.sun_path - 2);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(arguments[2]);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    tried("an abstract name", connect(sock, (void *)&abstract, length) == 0);
    return finish();
}

static struct sockaddr_un mine, theirs;
static volatile struct sockaddr_un shared;
static int victim, plain, local;
static volatile bool done, began;

static void *swap_addresses(void *nothing) {
    while (!done) {
        memcpy((void *)&shared, &theirs, sizeof theirs);
        memcpy((void *)&shared, &mine, sizeof mine);
        began = true;
    }
    return nothing;
}

static void *swap_descriptors(void *nothing) {
    while (!done) {
        dup2(local, victim);
        dup2(plain, victim);
        began = true;
    }
    return nothing;
}

// swapped PATH: the address, or what the descriptor stands for, is another one while the call is looked at.
static int run_swapped(char **arguments) {
    char own[] = "/tmp/swapped-XXXXXX", path[100];
    if (!mkdtemp(own)) give_up("mkdtemp");
    snprintf(path, sizeof path, "%s/mine", own);
    mine = named(path);
    theirs = named(arguments[0]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    // Without private sockets there is nothing to swap with.
    bool listens = bind(listener, (void *)&mine, sizeof mine) == 0 && listen(listener, 1000) == 0;
    bool got = false;
    pthread_t thread;
    pthread_create(&thread, NULL, swap_addresses, NULL);
    while (!began) sched_yield();
    for (int at = 0; listens && !got && at < 1000; at++) {
        int sock = socket(AF_UNIX, SOCK_STREAM, 0);
        connect(sock, (void *)&shared, sizeof shared);
        got = reached(sock, arguments[0]);
        close(sock);
        sched_yield();
    }
    done = true;
    pthread_join(thread, NULL);
    tried("another address", got);

    // As an address of a stream over IP it is wrong, and needs no look; the number then means a Unix socket.
    done = began = got = false;
    plain = socket(AF_INET, SOCK_STREAM, 0);
    victim = dup(plain);
    local = socket(AF_UNIX, SOCK_STREAM, 0);
    pthread_create(&thread, NULL, swap_descriptors, NULL);
    while (!began) sched_yield();
    for (int at = 0; !got && at < 1000; at++) {
        connect(victim, (void *)&theirs, sizeof theirs);
        got = reached(local, arguments[0]);
        sched_yield();
    }
    done = true;
    pthread_join(thread, NULL);
    tried("another socket", got);
    return finish();
}

static bool bound(const char *path) {
    struct sockaddr_un address = named(path);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    return bind(sock, (void *)&address, sizeof address) == 0 && listen(sock, 1) == 0 && access(path, F_OK) == 0;
}

// bound WORK: a socket where programs of the host would find it.
static int run_bound(char **arguments) {
    char path[300], own[] = "/tmp/bound-XXXXXX";
    if (!mkdtemp(own)) give_up("mkdtemp");
    snprintf(path, sizeof path, "%s/a", arguments[0]);
    tried("by its path", bound(path));
    snprintf(path, sizeof path, "/proc/self/fd/%d/b", open(arguments[0], O_PATH));
    tried("by a descriptor", bound(path));
    char link[300];
    snprintf(link, sizeof link, "%s/link", own);
    if (symlink(arguments[0], link) != 0) give_up("symlink");
    snprintf(path, sizeof path, "%s/link/c", own);
    tried("by a link", bound(path));
    snprintf(path, sizeof path, "%s/mine", own);
    snprintf(link, sizeof link, "%s/d", arguments[0]);
    tried("moved there", bound(path) && rename(path, link) == 0);
    return finish();
}

int main(int count, char **argv) {
    (void)count;
    static const struct mode modes[] = {
        {"spellings", run_spellings},
        {"swapped", run_swapped},
        {"bound", run_bound},
    };
    return choose(modes, sizeof modes / sizeof *modes, argv);
}
