/* What a sandbox does, seen from the kernel. Nothing here refuses or changes anything.
 *
 * A sandbox is told by its pid namespace, which a process can leave neither for its parent's nor for another's: it
 * works with every layout of control groups, and without any. A task of a nested namespace belongs to each observed
 * sandbox around it. The PID 1 of a sandbox is Aegis's own and is not observed; observation begins with the first
 * execution.
 *
 * State is in the maps: `sandboxes` has sets and counts, `seen` what was noted already. A note travels through the
 * ring buffer once; when that is full, the note is sent at the next occasion, and counted until then. */

#include "kernel.h"
#include "notes.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AT_FDCWD (-100)
#define NONE 0xff
#define EFAULT 14
#define EINPROGRESS 115

/* The pid namespace of each observed sandbox, and its place in `sandboxes`. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, SANDBOXES);
  __type(key, __u32);
  __type(value, __u32);
} observed SEC(".maps");

/* The same for most of them, by the lowest bits of the namespace: an array is looked up in a third of the time. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, QUICK);
  __type(key, __u32);
  __type(value, struct quick);
} quick SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, SANDBOXES);
  __type(key, __u32);
  __type(value, struct sandbox);
} sandboxes SEC(".maps");

/* By number, what is to be noted of a system call. Filled in by the loader, which knows them by name. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, CALLS);
  __type(key, __u32);
  __type(value, struct call);
} calls SEC(".maps");

/* What was noted, and whether it was sent. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, SEEN);
  __type(key, struct seen);
  __type(value, __u32);
} seen SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, RING);
} ring SEC(".maps");

/* Where a note is put together. Tracepoints are called with preemption off, so one for each processor is enough. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct scratch);
} scratches SEC(".maps");

/* Keys the hash of texts, so that nobody can choose two that look the same. Set by the loader. */
const volatile __u64 SECRET = 0;
/* Its number, and whether addresses of the Internet families are noted by the hooks. Set by the loader. */
const volatile __u32 RT_SIGRETURN = 0;
const volatile bool HOOKED = false;

#define OWN_HASH(x) (((x) ^ SECRET) * 0x9fb21c651e98df25ULL)

/* The observed sandboxes that a task is in, innermost first. */
struct inside {
  __u32 slots[DEPTH];
  int count;
};

struct climb {
  struct task_struct *task;
  struct pid_namespace *ns;
  struct inside inside;
};

static long climb(__u32 index, void *data) {
  struct climb *climb = data;
  struct pid_namespace *ns = climb->ns;
  if (!ns || BPF_CORE_READ(ns, level) == 0) return 1;
  __u32 inum = BPF_CORE_READ(ns, ns.inum);
  __u32 *slot = bpf_map_lookup_elem(&observed, &inum);
  if (slot && BPF_CORE_READ(ns, child_reaper) != climb->task && climb->inside.count < DEPTH)
    climb->inside.slots[climb->inside.count++ & (DEPTH - 1)] = *slot;
  climb->ns = BPF_CORE_READ(ns, parent);
  return 0;
}

static __always_inline bool find(struct task_struct *task, struct inside *inside) {
  struct pid_namespace *ns = task->nsproxy->pid_ns_for_children;
  __u32 level = ns->level;
  if (level == 0) return false; /* the host itself, or the end of a task */
  if (level == 1) {             /* the usual case, without a call more than it needs */
    __u32 inum = ns->ns.inum;
    __u32 at = inum % QUICK;
    struct quick *entry = bpf_map_lookup_elem(&quick, &at);
    if (!entry) return false;
    __u32 *slot = &entry->slot;
    if (entry->inum != inum) {
      if (!entry->others) return false;
      slot = bpf_map_lookup_elem(&observed, &inum);
      if (!slot) return false;
    }
    if (ns->child_reaper == task) return false;
    inside->slots[0] = *slot;
    inside->count = 1;
    return true;
  }
  struct climb up = {.task = task, .ns = ns};
  bpf_loop(32 /* MAX_PID_NS_LEVEL */, climb, &up, 0);
  *inside = up.inside;
  return inside->count != 0;
}

static __always_inline struct sandbox *sandbox(const struct inside *inside, int i) {
  __u32 slot = inside->slots[i & (DEPTH - 1)];
  return bpf_map_lookup_elem(&sandboxes, &slot);
}

static __always_inline struct scratch *scratch(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&scratches, &zero);
}

/* --- Paths ------------------------------------------------------------------------------------------------------ */

struct walk {
  struct dentry *dentry;
  struct vfsmount *vfsmount;
};

/* One step towards the root: a name, or from the root of a mount to where that is mounted. */
static long step(__u32 index, void *data) {
  struct walk *walk = data;
  struct scratch *to = scratch();
  if (!to) return 1;
  struct dentry *dentry = walk->dentry;
  struct vfsmount *vfsmount = walk->vfsmount;
  if (dentry == BPF_CORE_READ(vfsmount, mnt_root)) {
    struct mount *mount = container_of(vfsmount, struct mount, mnt);
    struct mount *parent = BPF_CORE_READ(mount, mnt_parent);
    if (parent == mount) return 1;
    walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
    walk->vfsmount = (struct vfsmount *)((void *)parent + bpf_core_field_offset(struct mount, mnt));
    return 0;
  }
  struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
  __u32 at = to->note.length;
  if (at > DATA - NAME) {
    to->note.flags |= NOTE_TRUNCATED;
    return 1;
  }
  long length = bpf_probe_read_kernel_str(&to->note.data[at & (DATA - 1)], NAME, BPF_CORE_READ(dentry, d_name.name));
  if (length > 0) to->note.length = at + length;
  if (parent == dentry) return 1; /* not mounted anywhere: a pipe, a file of another root */
  walk->dentry = parent;
  if (index == COMPONENTS - 1) to->note.flags |= NOTE_TRUNCATED;
  return 0;
}

/* Appends the names of a path, last first, each with a NUL. */
static __attribute__((noinline)) int append_path(struct scratch *to, struct place *place) {
  if (!place->dentry) return 0;
  __u32 before = to->note.length;
  struct walk walk = {.dentry = place->dentry, .vfsmount = place->mount};
  bpf_loop(COMPONENTS, step, &walk, 0);
  return to->note.length - before;
}

static __always_inline struct file *file_of(struct task_struct *task, long fd) {
  struct fdtable *table = BPF_CORE_READ(task, files, fdt);
  struct file *file = 0;
  if (fd < 0 || (__u64)fd >= BPF_CORE_READ(table, max_fds)) return 0;
  struct file **files = BPF_CORE_READ(table, fd);
  bpf_probe_read_kernel(&file, sizeof file, files + fd);
  return file;
}

struct digest {
  __u64 hash;
  __u32 length;
};

static long mix(__u32 index, void *data) {
  struct digest *digest = data;
  struct scratch *from = scratch();
  __u32 at = index * 8;
  if (!from || at >= digest->length || at > TEXT - 8) return 1;
  __u64 word = *(__u64 *)&from->note.data[at & (TEXT - 8)];
  __u32 left = digest->length - at;
  if (left < 8) word &= (1ULL << (left * 8)) - 1;
  digest->hash = OWN_HASH(digest->hash ^ word);
  digest->hash ^= digest->hash >> 29;
  return 0;
}

/* --- Notes ------------------------------------------------------------------------------------------------------ */

static __always_inline void begin(struct scratch *to, struct task_struct *task, __u16 kind, __u16 call, __s64 result) {
  to->note.kind = kind;
  to->note.call = call;
  to->note.result = result;
  to->note.pid = task->tgid;
  to->note.parent = task->real_parent->tgid;
  to->note.time = bpf_ktime_get_boot_ns();
  to->note.device = to->note.inode = to->note.access = to->note.flags = 0;
  to->note.length = to->note.text = to->note.base = to->note.path = 0;
  to->base.dentry = to->file.dentry = 0;
  __builtin_memset(&to->seen, 0, sizeof to->seen);
  to->seen.kind = kind;
  to->seen.call = call;
}

/* Reads a text of the task. False: it cannot be read, and is noted as such. */
static __always_inline bool text(struct scratch *to, __u64 pointer) {
  long length = bpf_probe_read_user_str(to->note.data, TEXT, (void *)pointer);
  if (length <= 0) {
    to->note.flags |= NOTE_UNREADABLE;
    return false;
  }
  to->note.text = to->note.length = length;
  struct digest digest = {.hash = SECRET, .length = length};
  bpf_loop(TEXT / 8, mix, &digest, 0);
  to->seen.text = digest.hash;
  return true;
}

/* The directory that a relative text begins at. */
static __always_inline void base(struct scratch *to, struct task_struct *task, long fd) {
  if (to->note.data[0] == '/') return;
  struct vfsmount *mnt;
  struct dentry *dentry;
  if ((int)fd == AT_FDCWD) {
    mnt = BPF_CORE_READ(task, fs, pwd.mnt);
    dentry = BPF_CORE_READ(task, fs, pwd.dentry);
  } else {
    struct file *file = file_of(task, (int)fd);
    if (!file) return;
    mnt = BPF_CORE_READ(file, f_path.mnt);
    dentry = BPF_CORE_READ(file, f_path.dentry);
  }
  to->seen.base = (__u64)dentry ^ BPF_CORE_READ(dentry, d_name.hash_len);
  to->base.mount = mnt;
  to->base.dentry = dentry;
}

/* The file that was opened, by its inode and its name. */
static __always_inline void file(struct scratch *to, struct file *file) {
  struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
  struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);
  struct inode *inode = BPF_CORE_READ(file, f_inode);
  to->seen.inode = to->note.inode = BPF_CORE_READ(inode, i_ino);
  to->seen.device = to->note.device = BPF_CORE_READ(inode, i_sb, s_dev);
  to->seen.name = BPF_CORE_READ(dentry, d_name.hash_len) ^ BPF_CORE_READ(dentry, d_parent, d_inode, i_ino) << 32;
  to->seen.mount = (__u64)mnt;
  to->note.mode = BPF_CORE_READ(inode, i_mode);
  if (!BPF_CORE_READ(dentry, d_hash.pprev)) to->note.flags |= NOTE_DELETED;
  to->file.mount = mnt;
  to->file.dentry = dentry;
}

/* Whether the note was sent for every sandbox around the task. */
static __always_inline bool all_sent(struct scratch *to, const struct inside *inside) {
  for (int i = 0; i < DEPTH && i < inside->count; i++) {
    to->seen.slot = inside->slots[i & (DEPTH - 1)];
    __u32 *sent = bpf_map_lookup_elem(&seen, &to->seen);
    if (!sent || !*sent) return false;
  }
  return true;
}

/* Sends the note to each sandbox around the task that has not had it. */
static __always_inline void send(struct scratch *to, const struct inside *inside) {
  to->seen.result = to->note.result < 0 ? to->note.result : 0;
  to->seen.access = to->note.access;
  /* Most is done again and again: only what is new is worth a walk. */
  if (all_sent(to, inside)) return;
  to->note.base = append_path(to, &to->base);
  to->note.path = append_path(to, &to->file);
  for (int i = 0; i < DEPTH && i < inside->count; i++) {
    struct sandbox *of = sandbox(inside, i);
    if (!of || !of->began) continue;
    to->note.slot = to->seen.slot = inside->slots[i & (DEPTH - 1)];
    __u32 *sent = bpf_map_lookup_elem(&seen, &to->seen);
    if (sent && *sent) continue;
    if (!sent) {
      __u32 no = 0;
      if (of->notes >= NOTES || bpf_map_update_elem(&seen, &to->seen, &no, BPF_NOEXIST)) {
        __sync_fetch_and_add(&of->lost_state, 1);
        continue;
      }
      __sync_fetch_and_add(&of->notes, 1);
      __sync_fetch_and_add(&of->unsent, 1);
    }
    __u64 size = sizeof(struct note) - DATA_ROOM + (to->note.length & (2 * DATA - 1));
    if (size > sizeof(struct note)) size = sizeof(struct note);
    if (bpf_ringbuf_output(&ring, &to->note, size, BPF_RB_NO_WAKEUP)) continue;
    sent = bpf_map_lookup_elem(&seen, &to->seen);
    if (sent && !__sync_lock_test_and_set(sent, 1)) __sync_fetch_and_add(&of->unsent, -1);
  }
}

/* --- Sockets ---------------------------------------------------------------------------------------------------- */

static __always_inline void address(struct scratch *to, __u16 family, __u16 port, const __u32 *words) {
  to->note.address.family = family;
  to->note.address.port = port;
  for (int i = 0; i < 4; i++) to->note.address.words[i] = words[i];
  to->seen.inode = (__u64)words[0] << 32 | words[1];
  to->seen.name = (__u64)words[2] << 32 | words[3];
  to->seen.device = (__u32)port << 16 | family;
}

/* A Unix socket's name, as the task gave it: a path, or after a NUL an abstract one. */
static __always_inline bool unix_name(struct scratch *to, struct task_struct *task, __u64 pointer, __u64 length) {
  __u16 family = 0;
  if (bpf_probe_read_user(&family, sizeof family, (void *)pointer) || family != AF_UNIX) return false;
  if (length <= 2 || length > 110) return false;
  __u32 size = (length - 2) & 127;
  if (bpf_probe_read_user(to->note.data, size, (void *)(pointer + 2))) return false;
  to->note.data[size] = 0;
  to->note.text = to->note.length = size + 1;
  to->note.address.family = AF_UNIX;
  struct digest digest = {.hash = SECRET, .length = size};
  bpf_loop(TEXT / 8, mix, &digest, 0);
  to->seen.text = digest.hash;
  if (to->note.data[0]) base(to, task, AT_FDCWD);
  return true;
}

static __always_inline struct sock *sock_of(struct task_struct *task, long fd) {
  struct file *file = file_of(task, fd);
  if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != 0140000) return 0;
  struct socket *socket = BPF_CORE_READ(file, private_data);
  return BPF_CORE_READ(socket, sk);
}

/* The end of an address of the Internet families, as the kernel has it. */
static __always_inline bool internet(struct scratch *to, struct sock *sk, bool local) {
  __u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
  __u32 words[4] = {};
  __u16 port;
  if (local) {
    port = BPF_CORE_READ(sk, __sk_common.skc_num);
  } else {
    port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
  }
  if (family == AF_INET) {
    words[0] = local ? BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr) : BPF_CORE_READ(sk, __sk_common.skc_daddr);
  } else if (family == AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
    if (local) {
      BPF_CORE_READ_INTO(&words, sk, __sk_common.skc_v6_rcv_saddr);
    } else {
      BPF_CORE_READ_INTO(&words, sk, __sk_common.skc_v6_daddr);
    }
  } else {
    return false;
  }
  to->note.access = BPF_CORE_READ(sk, sk_type);
  address(to, family, port, words);
  return true;
}

/* --- Probes ----------------------------------------------------------------------------------------------------- */

/* A system call that has returned, and which of its paths is to be noted. */
struct made {
  struct task_struct *task;
  const struct call *call;
  __u64 arguments[8];
  __s64 result;
  __u32 number;
  __u8 path;
  __u8 directory;
};

static __attribute__((noinline)) void of_call(struct made *made, const struct inside *inside) {
  struct task_struct *task = made->task;
  const struct call *call = made->call;
  const __u64 *arguments = made->arguments;
  __s64 result = made->result;
  struct scratch *to = scratch();
  if (!to) return;
  begin(to, task, call->kind, made->number, result);
  switch (call->kind) {
  case CALL_PATH:
  case CALL_OPEN:
    if (result >= 0 && (call->flags & CALL_FAILED_ONLY)) return;
    /* Of a descriptor alone (AT_EMPTY_PATH), or what the kernel could not read either. */
    if (!arguments[made->path & 7] || result == -EFAULT) return;
    if (text(to, arguments[made->path & 7]))
      base(to, task, made->directory == NONE ? AT_FDCWD : (long)arguments[made->directory & 7]);
    if (call->kind == CALL_OPEN && result >= 0) {
      struct file *opened = file_of(task, result);
      if (!opened) break;
      to->note.access = BPF_CORE_READ(opened, f_mode) & 0x3f; /* FMODE_READ to FMODE_EXEC, linux/fs.h */
      file(to, opened);
    } else if (result >= 0 && to->note.text <= 1) {
      return; /* of a descriptor (AT_EMPTY_PATH), or none */
    }
    break;
  case CALL_SOCKET:
    to->note.access = arguments[0] << 16 | (arguments[1] & 0xf);
    to->note.inode = to->seen.inode = arguments[2];
    break;
  case CALL_LISTEN:
  case CALL_BIND:
  case CALL_CONNECT: {
    if (call->kind != CALL_LISTEN && unix_name(to, task, arguments[1], arguments[2])) break;
    if (HOOKED && call->kind != CALL_LISTEN) return;
    if (result < 0 && result != -EINPROGRESS) return;
    struct sock *sk = sock_of(task, (int)arguments[0]);
    if (!sk || !internet(to, sk, call->kind != CALL_CONNECT)) return;
    break;
  }
  case CALL_SEND:
    if (!unix_name(to, task, arguments[4], arguments[5])) return;
    break;
  case CALL_SEND_MESSAGE: {
    struct {
      __u64 name;
      __u32 length;
    } message = {}; /* struct user_msghdr */
    bpf_probe_read_user(&message, sizeof message, (void *)arguments[1]);
    to->note.kind = to->seen.kind = CALL_SEND;
    if (!unix_name(to, task, message.name, message.length)) return;
    break;
  }
  default: return;
  }
  send(to, inside);
}

SEC("tp_btf/sys_exit")
int sys_exit(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct inside inside;
  if (!find(task, &inside)) return 0;
  struct pt_regs *regs = (struct pt_regs *)context[0];
  __s64 result = context[1];
  __s64 given = NUMBER(regs);
  /* On x86 `rt_sigreturn` restores the registers of a moment that was not in a call. */
  __u32 number = given < 0 ? RT_SIGRETURN : given;
  bool compat = IS_COMPAT(task);
  if (number >= CALLS) number = CALLS - 1;
  __u64 bit = 1ULL << (number & 63);
  bool began = false;
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (!of || !of->began) continue;
    began = true;
    __u64 *word = &of->called[compat][(number >> 6) & 7];
    if (!(*word & bit)) __sync_fetch_and_or(word, bit);
    if (result == -1 || result == -13 || result == -38) { /* EPERM, EACCES, ENOSYS */
      word = &of->denied[result == -1 ? 0 : result == -13 ? 1 : 2][(number >> 6) & 7];
      if (!(*word & bit)) __sync_fetch_and_or(word, bit);
    }
  }
  if (!began || compat) return 0;
  struct call *call = bpf_map_lookup_elem(&calls, &number);
  if (!call || !call->kind) return 0;
  struct made made = {.task = task, .call = call, .result = result, .number = number};
  ARGUMENTS(regs, made.arguments);
  made.path = call->path;
  made.directory = call->directory;
  of_call(&made, &inside);
  if (call->second_path != NONE) {
    made.path = call->second_path;
    made.directory = call->second_directory;
    of_call(&made, &inside);
  }
  return 0;
}

SEC("tp_btf/sched_process_exec")
int sched_process_exec(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct linux_binprm *program = (struct linux_binprm *)context[2];
  struct inside inside;
  if (!find(task, &inside)) return 0;
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (!of) continue;
    of->began = 1;
    __sync_fetch_and_add(&of->executions, 1);
  }
  struct scratch *to = scratch();
  if (!to) return 0;
  begin(to, task, NOTE_EXECUTED, 0, 0);
  /* What was asked for: for a script, the script. */
  long length = bpf_probe_read_kernel_str(to->note.data, TEXT, BPF_CORE_READ(program, filename));
  if (length > 0) {
    to->note.text = to->note.length = length;
    struct digest digest = {.hash = SECRET, .length = length};
    bpf_loop(TEXT / 8, mix, &digest, 0);
    to->seen.text = digest.hash;
    base(to, task, AT_FDCWD);
  }
  file(to, BPF_CORE_READ(program, file));
  send(to, &inside);
  return 0;
}

SEC("tp_btf/sched_process_fork")
int sched_process_fork(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct inside inside;
  if (!find(task, &inside)) return 0;
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (!of || !of->began) continue;
    __sync_fetch_and_add(&of->forks, 1);
    __s64 tasks = __sync_fetch_and_add(&of->tasks, 1) + 1;
    if (tasks > of->most_tasks) of->most_tasks = tasks;
  }
  return 0;
}

SEC("tp_btf/sched_process_exit")
int sched_process_exit(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct inside inside;
  if (!find(task, &inside)) return 0;
  /* The call that it ended in never returns. Outside a call this is -1. */
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
  __u32 number = NUMBER(regs);
  bool compat = IS_COMPAT(task);
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (!of || !of->began) continue;
    __sync_fetch_and_add(&of->tasks, -1);
    if (number < CALLS) __sync_fetch_and_or(&of->called[compat][(number >> 6) & 7], 1ULL << (number & 63));
  }
  return 0;
}

struct search {
  struct pid_namespace *ns;
  __u32 slot;
  bool within;
};

static long search_up(__u32 index, void *data) {
  struct search *search = data;
  struct pid_namespace *ns = search->ns;
  if (!ns || BPF_CORE_READ(ns, level) == 0) return 1;
  __u32 inum = BPF_CORE_READ(ns, ns.inum);
  __u32 *slot = bpf_map_lookup_elem(&observed, &inum);
  if (slot && *slot == search->slot) {
    search->within = true;
    return 1;
  }
  search->ns = BPF_CORE_READ(ns, parent);
  return 0;
}

/* A signal from inside to a task outside. */
SEC("tp_btf/signal_generate")
int signal_generate(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct task_struct *target = (struct task_struct *)context[2];
  struct inside inside;
  if (context[1] == 1 /* SEND_SIG_PRIV: the kernel's own */ || !find(task, &inside)) return 0;
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (!of || !of->began) continue;
    struct search search = {.ns = target->nsproxy->pid_ns_for_children, .slot = inside.slots[i & (DEPTH - 1)]};
    /* Of one that is ending, nobody is signalled any more. */
    search.within = !search.ns;
    bpf_loop(32, search_up, &search, 0);
    bool within = search.within;
    if (!within) __sync_fetch_and_or(&of->signals_outside, 1ULL << (context[0] & 63));
  }
  return 0;
}

/* Linux 6.14. */
SEC("tp_btf/cap_capable")
int cap_capable(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct inside inside;
  if (!find(task, &inside)) return 0;
  __u64 bit = 1ULL << (context[3] & 63);
  bool denied = (int)context[4] != 0;
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (!of || !of->began) continue;
    __u64 *word = &of->capabilities[denied];
    if (!(*word & bit)) __sync_fetch_and_or(word, bit);
  }
  return 0;
}

/* Addresses of the Internet families, from the kernel's own copy: another thread cannot change them. */
static __always_inline int of_address(struct bpf_sock_addr *context, __u16 kind, __u16 family) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct inside inside;
  if (!find(task, &inside)) return 1;
  struct scratch *to = scratch();
  if (!to) return 1;
  begin(to, task, kind, 0, 0);
  __u32 words[4] = {};
  if (family == AF_INET) {
    words[0] = context->user_ip4;
  } else {
    words[0] = context->user_ip6[0], words[1] = context->user_ip6[1];
    words[2] = context->user_ip6[2], words[3] = context->user_ip6[3];
  }
  to->note.access = context->type;
  address(to, family, __builtin_bswap16(context->user_port), words);
  send(to, &inside);
  return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *context) { return of_address(context, CALL_CONNECT, AF_INET); }
SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *context) { return of_address(context, CALL_CONNECT, AF_INET6); }
SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *context) { return of_address(context, CALL_SEND, AF_INET); }
SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *context) { return of_address(context, CALL_SEND, AF_INET6); }
SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *context) { return of_address(context, CALL_BIND, AF_INET); }
SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *context) { return of_address(context, CALL_BIND, AF_INET6); }
