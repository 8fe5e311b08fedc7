// Attacks on the file system: items 1 to 9.

#include "common.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/xattr.h>

static bool readable(int fd) {
    char byte;
    bool got = fd >= 0 && read(fd, &byte, 1) == 1;
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return got;
}

// read PATH...: read any part of each.
static int run_read(char **paths) {
    for (; *paths; paths++) tried(*paths, readable(open(*paths, O_RDONLY)));
    return finish();
}

// write PATH...: opening is enough; nothing is written to files that the host needs.
static int run_write(char **paths) {
    for (; *paths; paths++) {
        int fd = open(*paths, O_WRONLY);
        tried(*paths, fd >= 0);
        if (fd >= 0) close(fd);
    }
    return finish();
}

// addresses: the location of the kernel's code, from the first symbols that have an address at all.
static int run_addresses(char **arguments) {
    (void)arguments;
    static const char *files[] = {"/proc/kallsyms", "/proc/iomem", "/proc/modules"};
    for (size_t at = 0; at < sizeof files / sizeof *files; at++) {
        FILE *file = fopen(files[at], "r");
        char line[512];
        bool any = false;
        for (int number = 0; file && number < 100 && fgets(line, sizeof line, file); number++)
            any |= strspn(line, " 0") < strcspn(line, " -");
        tried(files[at], any);
        if (file) fclose(file);
    }
    return finish();
}

// spellings SECRET: every detour to one absolute path.
static int run_spellings(char **arguments) {
    const char *secret = arguments[0];
    const char *prefixes[] = {
        "",
        "/..",
        "/../../../../../../../..",
        "/proc/self/root",
        "/proc/self/cwd/../../../../../../../..",
        "/proc/thread-self/root",
        "/proc/1/root",
        "/proc/1/cwd/../../../../../../../..",
        "/dev/fd/0/../../../../../../../..",
        "/tmp/../../../..",
        "//.//./",
    };
    char path[4096];
    for (size_t at = 0; at < sizeof prefixes / sizeof *prefixes; at++) {
        snprintf(path, sizeof path, "%s%s", prefixes[at], secret);
        tried(path, readable(open(path, O_RDONLY)));
    }
    for (int fd = 0; fd < 64; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        snprintf(path, sizeof path, "../../../../../../../..%s", secret);
        if (readable(openat(fd, path, O_RDONLY))) tried("a descriptor's parents", true);
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../../..%s", fd, secret);
        if (readable(open(path, O_RDONLY))) tried("/proc/self/fd", true);
    }
    symlink(secret, "detour");
    tried("a symbolic link", readable(open("detour", O_RDONLY)));
    unlink("detour");
    tried("a hard link", link(secret, "detour") == 0);
    unlink("detour");
    return finish();
}

// descriptors: any open descriptor beside 0, 1, 2.
static int run_descriptors(char **arguments) {
    (void)arguments;
    char way[64];
    for (int fd = 3; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        snprintf(way, sizeof way, "descriptor %d is open", fd);
        tried(way, true);
    }
    errno = EBADF;
    if (!escapes) tried("descriptors from 3 on", false);
    return finish();
}

// under FD NAME: reach and change NAME in the directory open as FD.
static int run_under(char **arguments) {
    int dir = atoi(arguments[0]);
    const char *name = arguments[1];
    struct stat status;
    tried("stat", fstatat(dir, name, &status, 0) == 0);
    tried("open", readable(openat(dir, name, O_RDONLY)));
    tried("chmod", fchmodat(dir, name, 0777, 0) == 0);
    tried("fchdir", fchdir(dir) == 0 && stat(name, &status) == 0);
    return finish();
}

static int hello(char **arguments) {
    (void)arguments;
    puts("got out: it was executed");
    return 42;
}

static void copy_self(int to) {
    int from = open("/proc/self/exe", O_RDONLY);
    if (from < 0) give_up("/proc/self/exe");
    char buffer[65536];
    ssize_t got;
    while ((got = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, got) != got) give_up("write");
    close(from);
}

static bool executed(int (*how)(void *), void *argument) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        how(argument);
        _exit(errno);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

static char *const hello_argv[] = {"attack", "hello", NULL};
static char *const no_environment[] = {NULL};

static int by_path(void *path) { return execve(path, hello_argv, no_environment); }
static int by_fd(void *fd) { return fexecve(*(int *)fd, hello_argv, no_environment); }
static int by_execveat(void *fd) {
    return syscall(SYS_execveat, *(int *)fd, "", hello_argv, no_environment, AT_EMPTY_PATH);
}

// execute DIR: write a program there and run it, in every way.
static int run_execute(char **arguments) {
    char path[4096];
    snprintf(path, sizeof path, "%s/dropped", arguments[0]);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    if (fd < 0) give_up(path);
    copy_self(fd);
    close(fd);
    chmod(path, 0755);
    tried("execve", executed(by_path, path));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    tried("execveat of a descriptor", executed(by_execveat, &fd));
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    tried("execve of /proc/self/fd", executed(by_path, link));
    unlink(path);
    tried("execveat after unlink", executed(by_execveat, &fd));

    FILE *script = fopen(path, "w");
    fprintf(script, "#!/bin/sh\necho got out: the script ran; exit 42\n");
    fclose(script);
    chmod(path, 0755);
    tried("a file with #!", executed(by_path, path));
    unlink(path);
    return finish();
}

// memfd: run a program from memory.
static int run_memfd(char **arguments) {
    (void)arguments;
    unsigned flags[] = {0, 0x10 /* MFD_EXEC */, 2 /* MFD_ALLOW_SEALING */, 8 /* MFD_NOEXEC_SEAL */};
    const char *names[] = {"plain", "MFD_EXEC", "with sealing", "made executable"};
    for (int at = 0; at < 4; at++) {
        int fd = syscall(SYS_memfd_create, "x", flags[at]);
        if (fd < 0) {
            tried(names[at], false);
            continue;
        }
        copy_self(fd);
        fchmod(fd, 0755);
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        tried(names[at], executed(by_fd, &fd) || executed(by_execveat, &fd) || executed(by_path, link));
        close(fd);
    }
    return finish();
}

// map DIR: code from a file that the attack wrote.
static int run_map(char **arguments) {
    char path[4096];
    snprintf(path, sizeof path, "%s/code", arguments[0]);
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; // mov eax, 42; ret
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);
    if (fd < 0 || write(fd, code, sizeof code) != sizeof code) give_up(path);
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    tried("mmap PROT_EXEC", mapped != MAP_FAILED && ((int (*)(void))mapped)() == 42);
    mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    bool may = mapped != MAP_FAILED && mprotect(mapped, 4096, PROT_READ | PROT_EXEC) == 0;
    tried("mprotect PROT_EXEC", may && ((int (*)(void))mapped)() == 42);
    // READ_IMPLIES_EXEC
    may = syscall(SYS_personality, 0x0400000) >= 0;
    mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    int tells = open("/proc/self/maps", O_RDONLY);
    char maps[65536] = "";
    ssize_t got = read(tells, maps, sizeof maps - 1);
    char *line = got > 0 ? strstr(maps, "/code") : NULL;
    while (line && line > maps && line[-1] != '\n') line--;
    tried("personality", may && line && strstr(line, "r-xp"));
    unlink(path);
    return finish();
}

// plant PATH: leave "owned" in a file by any means; the test inspects the host afterwards.
static int run_plant(char **arguments) {
    const char *path = arguments[0];
    char parent[4096], moved[4200], other[4200];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    *slash = 0;
    const char *name = slash + 1;
    FILE *file = fopen(path, "w");
    if (tried("write", file != NULL)) {
        fputs("owned\n", file);
        fclose(file);
        return finish();
    }
    tried("chmod, then write", chmod(path, 0666) == 0 && (file = fopen(path, "w")));
    snprintf(other, sizeof other, "%s/.planted", parent);
    FILE *made = fopen(other, "w");
    if (made) {
        fputs("owned\n", made);
        fclose(made);
    }
    if (tried("rename over it", rename(other, path) == 0)) return finish();
    tried("exchange with it", syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, path, 2) == 0);
    tried("unlink", unlink(path) == 0 || rmdir(path) == 0);
    unlink(other);
    // Each directory on the way, moved aside and made again.
    while (strlen(parent) > 1 && strcmp(parent, arguments[1]) != 0) {
        snprintf(moved, sizeof moved, "%s.moved", parent);
        if (tried("move a directory above it", rename(parent, moved) == 0)) {
            mkdir(parent, 0777);
            snprintf(other, sizeof other, "%s/%s", parent, name);
            file = fopen(other, "w");
            if (file) {
                fputs("owned\n", file);
                fclose(file);
            }
            return finish();
        }
        *strrchr(parent, '/') = 0;
    }
    return finish();
}

static bool set_id(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && (status.st_mode & 06000) != 0;
}

// setid DIR: a file with a set-user-id or set-group-id bit.
static int run_setid(char **arguments) {
    if (chdir(arguments[0])) give_up(arguments[0]);
    umask(0);
    int fd = open("f", O_RDWR | O_CREAT, 0755);
    if (fd < 0) give_up("f");
    chmod("f", 06755), tried("chmod", set_id("f")), chmod("f", 0755);
    fchmod(fd, 06755), tried("fchmod", set_id("f")), chmod("f", 0755);
    syscall(SYS_fchmodat, AT_FDCWD, "f", 06755), tried("fchmodat", set_id("f")), chmod("f", 0755);
    syscall(SYS_fchmodat, AT_FDCWD, "f", 0xffffffff00000000 | 04755);
    tried("fchmodat with high bits", set_id("f")), chmod("f", 0755);
    syscall(452, AT_FDCWD, "f", 04755, 0), tried("fchmodat2", set_id("f")), chmod("f", 0755);
    syscall(452, fd, "", 04755, AT_EMPTY_PATH), tried("fchmodat2 of a descriptor", set_id("f"));
    unlink("f"), close(open("f", O_WRONLY | O_CREAT, 06755)), tried("open", set_id("f"));
    unlink("f"), close(creat("f", 06755)), tried("creat", set_id("f"));
    unlink("f"), mknod("f", S_IFREG | 06755, 0), tried("mknod", set_id("f"));
    unlink("f"), mkfifo("f", 06755), tried("mkfifo", set_id("f"));
    struct open_how how = {.flags = O_WRONLY | O_CREAT, .mode = 06755};
    unlink("f"), syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof how), tried("openat2", set_id("f"));
    unlink("f"), fd = open(".", O_TMPFILE | O_RDWR, 06755);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    linkat(AT_FDCWD, link, AT_FDCWD, "f", AT_SYMLINK_FOLLOW), tried("O_TMPFILE", set_id("f"));
    unlink("f"), mkdir("d", 06777), tried("mkdir", set_id("d")), rmdir("d");
    int sock = socket(AF_UNIX, SOCK_STREAM, 0), pair[2];
    if (sock < 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) sock = pair[0];
    fchmod(sock, 06777);
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "f"};
    bind(sock, (void *)&at, sizeof at), tried("bind", set_id("f"));
    unlink("f");
    return finish();
}

// alter FILE: change a program that has its set-user-id bit, and keep the bit.
static int run_alter(char **arguments) {
    int fd = open(arguments[0], O_RDWR);
    if (fd < 0) {
        tried("open", false);
        return finish();
    }
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) memcpy(map, "owned", 5), msync(map, 4096, MS_SYNC);
    tried("a shared mapping", map != MAP_FAILED && set_id(arguments[0]));
    return finish();
}

// nodes DIR: a device of the machine.
static int run_nodes(char **arguments) {
    if (chdir(arguments[0])) give_up(arguments[0]);
    tried("mknod of /dev/mem", mknod("n", S_IFCHR | 0666, (1 << 8) | 1) == 0), unlink("n");
    tried("mknodat of a disk", mknodat(AT_FDCWD, "n", S_IFBLK | 0666, (254 << 8)) == 0), unlink("n");
    return finish();
}

// xattrs DIR: capabilities on a file, and what only root may set.
static int run_xattrs(char **arguments) {
    if (chdir(arguments[0])) give_up(arguments[0]);
    close(open("x", O_WRONLY | O_CREAT, 0755));
    uint32_t data[] = {0x02000001, ~0u, 0, ~0u, 0};
    tried("security.capability", setxattr("x", "security.capability", data, sizeof data, 0) == 0);
    tried("trusted.overlay.opaque", setxattr("x", "trusted.overlay.opaque", "y", 1, 0) == 0);
    unlink("x");
    return finish();
}

// across FROM TO: move or link a file out of a read-only grant into a writable one.
static int run_across(char **arguments) {
    tried("link", link(arguments[0], arguments[1]) == 0);
    tried("link of a descriptor",
          linkat(open(arguments[0], O_PATH), "", AT_FDCWD, arguments[1], AT_EMPTY_PATH) == 0);
    tried("rename", rename(arguments[0], arguments[1]) == 0);
    int fd = open(arguments[0], O_WRONLY | O_APPEND);
    tried("write", fd >= 0 && write(fd, "owned\n", 6) == 6);
    tried("truncate", truncate(arguments[0], 0) == 0);
    tried("chmod", chmod(arguments[0], 0777) == 0);
    tried("unlink", unlink(arguments[0]) == 0);
    return finish();
}

int main(int count, char **argv) {
    (void)count;
    static const struct mode modes[] = {
        {"read", run_read},       {"write", run_write},     {"spellings", run_spellings},
        {"addresses", run_addresses},
        {"hello", hello},         {"under", run_under},     {"descriptors", run_descriptors},
        {"execute", run_execute}, {"memfd", run_memfd},     {"map", run_map},
        {"plant", run_plant},     {"setid", run_setid},     {"alter", run_alter},
        {"nodes", run_nodes},     {"xattrs", run_xattrs},   {"across", run_across},
    };
    return choose(modes, sizeof modes / sizeof *modes, argv);
}
