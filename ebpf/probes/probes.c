/* What a sandbox does, seen from the kernel. Nothing here refuses or changes anything, but for sandboxes that are guarded:
 * there what executes a program that is not permitted is killed before that has run, and what reaches for such an address
 * before the call returns. Where the hooks on addresses are, the call is refused as well.
 *
 * A sandbox is told by its pid namespace, which a process can leave neither for its parent's nor for another's: it
 * works with every layout of control groups, and without any. A task of a nested namespace belongs to each observed
 * sandbox around it. The PID 1 of a sandbox is Aegis's own and is not observed; observation begins with the first
 * execution.
 *
 * State is in the maps: `sandboxes` has sets and counts, `seen` what was noted already. A note travels through the
 * ring buffer once; when that is full, the note is sent at the next occasion, and counted until then. */

#include "noting.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

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

/* An address of the Internet families, as the task gave it. */
static __always_inline bool asked_address(struct scratch *to, __u64 pointer, __u64 length) {
  struct {
    __u16 family;
    __u16 port;
    __u32 words[5]; /* IPv4: the address; IPv6: the flow, the address */
  } given = {};
  __u32 size = length > sizeof given ? sizeof given : length & 31;
  if (size < 8 || bpf_probe_read_user(&given, size, (void *)pointer)) return false;
  if (given.family == AF_INET) {
    given.words[1] = given.words[2] = given.words[3] = given.words[4] = 0;
    given.words[1] = given.words[0];
  } else if (given.family != AF_INET6 || length < sizeof given) {
    return false;
  }
  address(to, given.family, __builtin_bswap16(given.port), given.words + 1);
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
      if (!opened) { /* another thread has closed it already */
        to->note.flags |= NOTE_UNREADABLE;
        break;
      }
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
    struct sock *sk = sock_of(task, (int)arguments[0]);
    /* The hooks have it too, but for calls that the sandbox's listener has carried out. */
    bool connected = call->kind == CALL_CONNECT && (result >= 0 || result == -EINPROGRESS);
    if (call->kind == CALL_LISTEN || connected) {
      if (result < 0 && !connected) return;
      if (!sk || !internet(to, sk, !connected)) return;
    } else {
      if (!asked_address(to, arguments[1], arguments[2])) return;
      if (sk) to->note.access = BPF_CORE_READ(sk, sk_type);
    }
    if (call->kind == CALL_CONNECT &&
        is_forbidden_address(inside, to->note.address.family, to->note.address.port, to->note.address.words))
      bpf_send_signal(SIGKILL);
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
    if (of->wants & WANTS_ADDRESSES) {
      __u32 self = task->pid;
      __u64 *began = bpf_map_lookup_elem(&condemned, &self);
      if (began) {
        bool is_it = *began == task->start_time;
        bpf_map_delete_elem(&condemned, &self);
        if (is_it) bpf_send_signal(SIGKILL);
      }
    }
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
  struct file *executed = BPF_CORE_READ(program, file);
  if (is_forbidden_program(to, executed, &inside)) bpf_send_signal(SIGKILL);
  /* What was asked for: for a script, the script. */
  long length = bpf_probe_read_kernel_str(to->note.data, TEXT, BPF_CORE_READ(program, filename));
  if (length > 0) {
    to->note.text = to->note.length = length;
    struct digest digest = {.hash = SECRET, .length = length};
    bpf_loop(TEXT / 8, mix, &digest, 0);
    to->seen.text = digest.hash;
    base(to, task, AT_FDCWD);
  }
  file(to, executed);
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
  __u16 port = __builtin_bswap16(context->user_port);
  to->note.access = context->type;
  address(to, family, port, words);
  send(to, &inside);
  if (kind == CALL_BIND || !is_forbidden_address(&inside, family, port, words)) return 1;
  __u32 self = task->pid;
  __u64 began = task->start_time;
  bpf_map_update_elem(&condemned, &self, &began, BPF_ANY);
  return 0;
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
