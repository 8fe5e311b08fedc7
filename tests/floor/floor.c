/* The floor: what the kernel alone costs to start a command under every layer that aegis-run uses.
 * It reads no profile, checks no path and reports nothing; `scripts/bench` compares with it.
 *   floor CGROUP_LEAF_PARENT|- COMMAND [ARG...] */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call) do { if ((long)(call) < 0) { perror(#call); _exit(125); } } while (0)

static void put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK(fd);
	CHECK(write(fd, text, strlen(text)));
	close(fd);
}

static void bind_to(int root, const char *from, const char *to, unsigned long long set) {
	struct mount_attr attr = {.attr_set = set};
	int tree = syscall(SYS_open_tree, AT_FDCWD, from, OPEN_TREE_CLONE | AT_RECURSIVE | O_CLOEXEC);
	CHECK(tree);
	CHECK(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr));
	CHECK(syscall(SYS_move_mount, tree, "", root, to, MOVE_MOUNT_F_EMPTY_PATH));
	close(tree);
}

static int new_fs(const char *type, unsigned flags) {
	int context = syscall(SYS_fsopen, type, 1), mount;
	CHECK(context);
	CHECK(syscall(SYS_fsconfig, context, 6, 0, 0, 0));
	CHECK(mount = syscall(SYS_fsmount, context, 1, flags));
	close(context);
	return mount;
}

static void sandbox(uid_t uid, gid_t gid, char **command) {
	static const char *devices[] = {"dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom"};
	char text[64];
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(ioctl(sock, SIOCSIFFLAGS, &lo));
	close(sock);
	CHECK(unshare(CLONE_NEWCGROUP));
	put("/proc/self/setgroups", "deny");
	snprintf(text, sizeof text, "%u %u 1", gid, gid), put("/proc/self/gid_map", text);
	snprintf(text, sizeof text, "%u %u 1", uid, uid), put("/proc/self/uid_map", text);

	int root = new_fs("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	CHECK(syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
	mkdirat(root, "usr", 0755), mkdirat(root, "proc", 0755), mkdirat(root, "dev", 0755), mkdirat(root, "tmp", 01777);
	symlinkat("usr/bin", root, "bin"), symlinkat("usr/lib", root, "lib"), symlinkat("usr/lib64", root, "lib64");
	bind_to(root, "/usr", "usr", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++) {
		char from[32] = "/";
		close(openat(root, devices[i], O_CREAT | O_CLOEXEC, 0));
		bind_to(root, strcat(from, devices[i]), devices[i], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	}
	int proc = new_fs("proc", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	CHECK(syscall(SYS_move_mount, proc, "", root, "proc", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK(fchdir(root));
	CHECK(syscall(SYS_pivot_root, ".", "."));
	CHECK(umount2(".", MNT_DETACH));
	CHECK(chdir("/"));

	struct { __u32 version; int pid; } header = {0x20080522, 0};
	__u32 none[6] = {0};
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++) prctl(PR_CAPBSET_DROP, cap);
	CHECK(prctl(PR_SET_SECUREBITS, 0xef));
	CHECK(syscall(SYS_capset, &header, none));
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));

	struct { __u64 fs, net, scoped; } rules = {(1 << 16) - 1, 0, 3};
	int ruleset = syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
	CHECK(ruleset);
	static const char *readable[] = {"/usr", "/proc", "/dev"};
	for (int i = 0; i < 3; i++) {
		struct landlock_path_beneath_attr rule = {i ? 0xe : 0xd, open(readable[i], O_PATH | O_CLOEXEC)};
		CHECK(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
		close(rule.parent_fd);
	}
	CHECK(syscall(SYS_landlock_restrict_self, ruleset, 0));
	close(ruleset);

	pid_t pid = vfork();
	if (pid == 0) {
		setsid();
		syscall(SYS_close_range, 3, ~0U, 4);
		struct sock_filter filter[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_keyctl, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
		CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
		execv(command[0], command);
		_exit(127);
	}
	int status;
	while (wait(&status) != pid) {}
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(int argc, char **argv) {
	char leaf[512] = "";
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET,
		.exit_signal = SIGCHLD,
	};
	if (argc < 3) return 125;
	if (strcmp(argv[1], "-")) {
		snprintf(leaf, sizeof leaf, "%s/floor-%d", argv[1], getpid());
		CHECK(mkdir(leaf, 0755));
		int fd = open(leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		CHECK(fd);
		args.cgroup = fd, args.flags |= CLONE_INTO_CGROUP;
	}
	uid_t uid = geteuid();
	gid_t gid = getegid();
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	CHECK(pid);
	if (pid == 0) sandbox(uid, gid, argv + 2);
	int status;
	CHECK(waitpid(pid, &status, 0));
	if (*leaf) rmdir(leaf);
	return WEXITSTATUS(status);
}
