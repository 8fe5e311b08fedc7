/* What a sandbox does, seen from the kernel. Nothing here refuses or changes anything, but for sandboxes that are guarded:
 * there what executes a program that is not permitted is killed before that has run, and what reaches for such an address
 * before the call returns; or, where that is wanted and there are hooks that can, the call is refused and nobody is killed.
 * What comes past the hooks is killed in any case.
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
static __always_inline bool unix_name(struct scratch *to, struct task_struct *task, __u64 pointer, __u64 length,
                                      bool in_kernel) {
  __u16 family = 0;
  if (in_kernel ? bpf_probe_read_kernel(&family, sizeof family, (void *)pointer)
                : bpf_probe_read_user(&family, sizeof family, (void *)pointer))
    return false;
  if (family != AF_UNIX || length <= 2 || length > 110) return false;
  __u32 size = (length - 2) & 127;
  if (in_kernel ? bpf_probe_read_kernel(to->note.data, size, (void *)(pointer + 2))
                : bpf_probe_read_user(to->note.data, size, (void *)(pointer + 2)))
    return false;
  to->note.data[size] = 0;
  to->note.text = to->note.length = size + 1;
  to->note.address.family = AF_UNIX;
  struct digest digest = {.scratch = to->number, .hash = SECRET, .length = size};
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

/* An address of the Internet families, as it is given to a call. */
struct given {
  __u16 family;
  __u16 port;
  __u32 words[5]; /* IPv4: the address; IPv6: the flow, the address */
};

static __always_inline bool read_given(struct given *given, __u64 pointer, __u64 length, bool in_kernel) {
  __u32 size = length > sizeof *given ? sizeof *given : length & 31;
  if (size < 8) return false;
  if (in_kernel ? bpf_probe_read_kernel(given, size, (void *)pointer)
                : bpf_probe_read_user(given, size, (void *)pointer))
    return false;
  given->port = __builtin_bswap16(given->port);
  if (given->family == AF_INET) {
    given->words[1] = given->words[0];
    given->words[2] = given->words[3] = given->words[4] = 0;
    return true;
  }
  return given->family == AF_INET6 && length >= sizeof *given;
}

static __always_inline void count(const struct inside *inside, int what, __u64 more) {
  EACH(i, inside) {
    struct sandbox *of = sandbox(inside, i);
    if (of && of->began) rate(of, what, more);
  }
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
  struct scratch *to = scratch(0);
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
        if (wants(inside, HAS_HOOKS)) return; /* noted then */
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
    if (call->kind != CALL_LISTEN && unix_name(to, task, arguments[1], arguments[2], false)) break;
    struct sock *sk = sock_of(task, (int)arguments[0]);
    /* The hooks have it too, but for calls that the sandbox's listener has carried out. */
    bool connected = call->kind == CALL_CONNECT && (result >= 0 || result == -EINPROGRESS);
    if (call->kind == CALL_LISTEN || connected) {
      if (result < 0 && !connected) return;
      if (!sk || !internet(to, sk, !connected)) return;
    } else {
      struct given given = {};
      if (!read_given(&given, arguments[1], arguments[2], false)) return;
      address(to, given.family, given.port, given.words + 1);
      if (sk) to->note.access = BPF_CORE_READ(sk, sk_type);
    }
    if (call->kind == CALL_CONNECT &&
        forbids_address(inside, to->note.address.family, to->note.address.port, to->note.address.words))
      bpf_send_signal(SIGKILL);
    break;
  }
  case CALL_SEND:
    if (!unix_name(to, task, arguments[4], arguments[5], false)) return;
    break;
  case CALL_SEND_MESSAGE: {
    struct {
      __u64 name;
      __u32 length;
    } message = {}; /* struct user_msghdr */
    bpf_probe_read_user(&message, sizeof message, (void *)arguments[1]);
    to->note.kind = to->seen.kind = CALL_SEND;
    if (!unix_name(to, task, message.name, message.length, false)) return;
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
  bool began = false, refused = false;
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (!of || !of->began) continue;
    began = true;
    if (of->wants & (WANTS_ADDRESSES | WANTS_PROGRAMS)) {
      __u32 self = task->pid;
      struct refusal *refusal = bpf_map_lookup_elem(&condemned, &self);
      if (refusal) {
        bool is_it = refusal->began == task->start_time, kills = refusal->kills;
        bpf_map_delete_elem(&condemned, &self);
        if (is_it && kills) bpf_send_signal(SIGKILL);
        if (is_it && !kills) refused = result == -EPERM;
      }
    }
    __u64 *word = &of->called[compat][(number >> 6) & 7];
    if (!(*word & bit)) __sync_fetch_and_or(word, bit);
    /* What is refused here is noted as that, and is no denial of the sandbox's. */
    if (!refused && (result == -1 || result == -13 || result == -38)) { /* EPERM, EACCES, ENOSYS */
      word = &of->denied[result == -1 ? 0 : result == -13 ? 1 : 2][(number >> 6) & 7];
      if (!(*word & bit)) __sync_fetch_and_or(word, bit);
    }
  }
  if (!began || compat || refused) return 0;
  struct call *call = bpf_map_lookup_elem(&calls, &number);
  if (!call || !call->kind) return 0;
  if (call->kind == CALL_OPEN && result >= 0) count(&inside, RATE_OPENED, 1);
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

/* What was executed, or refused. */
static __always_inline void executed(struct scratch *to, struct task_struct *task, struct linux_binprm *program,
                                     const struct inside *inside) {
  /* What was asked for: for a script, the script. */
  long length = bpf_probe_read_kernel_str(to->note.data, TEXT, BPF_CORE_READ(program, filename));
  if (length > 0) {
    to->note.text = to->note.length = length;
    struct digest digest = {.scratch = to->number, .hash = SECRET, .length = length};
    bpf_loop(TEXT / 8, mix, &digest, 0);
    to->seen.text = digest.hash;
    base(to, task, AT_FDCWD);
  }
  file(to, BPF_CORE_READ(program, file));
  send(to, inside);
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
  struct scratch *to = scratch(0);
  if (!to) return 0;
  begin(to, task, NOTE_EXECUTED, 0, 0);
  if (forbids_program(to, BPF_CORE_READ(program, file), &inside)) bpf_send_signal(SIGKILL);
  executed(to, task, program, &inside);
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
    rate(of, RATE_FORKS, 1);
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

/* Bytes that were sent, by whatever call (Linux 6.3). */
SEC("tp_btf/sock_send_length")
int sock_send_length(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct sock *sk = (struct sock *)context[0];
  int sent = context[1];
  __u16 family = sk->__sk_common.skc_family;
  struct inside inside;
  if (sent <= 0 || (family != AF_INET && family != AF_INET6) || !find(task, &inside)) return 0;
  for (int i = 0; i < DEPTH && i < inside.count; i++) {
    struct sandbox *of = sandbox(&inside, i);
    if (of && of->began) __sync_fetch_and_add(&of->sent, sent);
  }
  count(&inside, RATE_SENT, sent);
  return 0;
}

/* --- Hooks ------------------------------------------------------------------------------------------------------ */

/* What finds no scratch is lost. */
static __always_inline void lost(const struct inside *inside) {
  EACH(i, inside) {
    struct sandbox *of = sandbox(inside, i);
    if (of && of->began) __sync_fetch_and_add(&of->lost_state, 1);
  }
}

/* That the call of this task is refused here, and whether the task is killed when it returns. */
static __always_inline void condemn(struct task_struct *task, int says) {
  __u32 self = task->pid;
  struct refusal refusal = {.began = task->start_time, .kills = !!(says & IS_KILLED)};
  bpf_map_update_elem(&condemned, &self, &refusal, BPF_ANY);
}

/* An address of the Internet families, from the kernel's own copy: another thread cannot change it. Is it to be refused? */
static __attribute__((noinline)) bool of_address(struct task_struct *task, const struct inside *inside, __u16 kind,
                                                 const struct given *given, __u32 type) {
  const __u32 *words = given->words + 1;
  int says = kind == CALL_BIND ? 0 : forbids_address(inside, given->family, given->port, words);
  struct scratch *to = take();
  if (to) {
    begin(to, task, kind, 0, 0);
    if (says == IS_REFUSED) {
      to->note.flags = NOTE_REFUSED;
      to->note.result = -EPERM;
    }
    to->note.access = type;
    address(to, given->family, given->port, words);
    send(to, inside);
    give_back(to);
  } else {
    lost(inside);
  }
  if (says) condemn(task, says);
  return says;
}

static __always_inline int hooked(struct bpf_sock_addr *context, __u16 kind, __u16 family) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct inside inside;
  if (!find(task, &inside)) return 1;
  struct given given = {.family = family, .port = __builtin_bswap16(context->user_port)};
  if (family == AF_INET) {
    given.words[1] = context->user_ip4;
  } else {
    given.words[1] = context->user_ip6[0], given.words[2] = context->user_ip6[1];
    given.words[3] = context->user_ip6[2], given.words[4] = context->user_ip6[3];
  }
  return !of_address(task, &inside, kind, &given, context->type);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *context) { return hooked(context, CALL_CONNECT, AF_INET); }
SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *context) { return hooked(context, CALL_CONNECT, AF_INET6); }
SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *context) { return hooked(context, CALL_SEND, AF_INET); }
SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *context) { return hooked(context, CALL_SEND, AF_INET6); }
SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *context) { return hooked(context, CALL_BIND, AF_INET); }
SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *context) { return hooked(context, CALL_BIND, AF_INET6); }

/* BPF LSM. The kernel calls these before it does what is asked for, after all other security modules have let it through:
 * what Landlock refuses is seen when the call returns. */

SEC("lsm/file_open")
int is_called(__u64 *context) {
  __u32 zero = 0;
  __u32 *is_called = bpf_map_lookup_elem(&called, &zero);
  if (is_called) *is_called = 1;
  return 0;
}

/* What a hook returns. A constant, since verifiers follow no negation. */
static __always_inline int refuse(bool is_refused) {
  int error = 0;
  if (is_refused) asm volatile("%0 = %1" : "=r"(error) : "i"(-EPERM));
  return error;
}

/* What is executed. Called once, with what the kernel is about to execute (of a script, its interpreter), as long as the call
 * can still fail. */
SEC("lsm/bprm_creds_from_file")
int executes(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct linux_binprm *program = (struct linux_binprm *)context[0];
  struct inside inside;
  if (!find(task, &inside) || !wants(&inside, WANTS_PROGRAMS)) return 0;
  /* Without a scratch it is not refused: then it is killed when it was executed. */
  struct scratch *to = take();
  if (!to) return 0;
  begin(to, task, NOTE_EXECUTED, 0, 0);
  bool refused = forbids_program(to, BPF_CORE_READ(program, file), &inside) == IS_REFUSED;
  if (refused) {
    to->note.flags = NOTE_REFUSED;
    to->note.result = -EPERM;
    executed(to, task, program, &inside);
    condemn(task, IS_REFUSED);
  }
  give_back(to);
  return refuse(refused);
}

/* What is opened by a task whose descriptors others share: they can close what the call returns, or put something else in its
 * place, before that is looked at. The same is never noted twice of what a task opens for itself. */
SEC("lsm/file_open")
int opens(__u64 *context) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct file *opened = (struct file *)context[0];
  struct inside inside;
  if (!find(task, &inside)) return 0;
  if (BPF_CORE_READ(task, files, count.counter) < 2 && !IS_COMPAT(task)) return 0;
  /* What a file system opens below, and what is opened to be executed. */
  if (opened->f_mode & FMODE_NOACCOUNT || opened->f_flags & FMODE_EXEC) return 0;
  struct scratch *to = take();
  if (!to) {
    lost(&inside);
    return 0;
  }
  begin(to, task, NOTE_OPENED, 0, 0);
  to->note.access = opened->f_mode & 0x3f;
  file(to, opened);
  send(to, &inside);
  give_back(to);
  return 0;
}

/* The address of a call, from the kernel's own copy. */
static __always_inline int of_socket(__u64 *context, __u16 kind) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct socket *socket = (struct socket *)context[0];
  __u64 pointer = context[1];
  __u64 length = (__u32)context[2];
  struct inside inside;
  if (!find(task, &inside)) return 0;
  struct given given = {};
  if (read_given(&given, pointer, length, true)) {
    __u32 type = BPF_CORE_READ(socket, sk, sk_type);
    return refuse(of_address(task, &inside, kind, &given, type));
  }
  if (given.family != AF_UNIX) return 0;
  struct scratch *to = take();
  if (!to) {
    lost(&inside);
    return 0;
  }
  begin(to, task, kind, 0, 0);
  if (unix_name(to, task, pointer, length, true)) send(to, &inside);
  give_back(to);
  return 0;
}

SEC("lsm/socket_connect")
int connects(__u64 *context) { return of_socket(context, CALL_CONNECT); }
SEC("lsm/socket_bind")
int binds(__u64 *context) { return of_socket(context, CALL_BIND); }
