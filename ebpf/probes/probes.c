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

#include "hooks.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Counts a file that was opened. */
static __always_inline void opened(const struct inside *inside) {
  EACH(i, inside) {
    struct sandbox *of = sandbox(inside, i);
    if (of && of->began) rate(of, RATE_OPENED, 1);
  }
}

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
        if (is_it) refused = result == -EPERM;
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
  if (call->kind == CALL_OPEN && result >= 0) opened(&inside);
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
    if (!search.within) __sync_fetch_and_or(&of->signals_outside, 1ULL << (context[0] & 63));
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
    if (!of || !of->began) continue;
    __sync_fetch_and_add(&of->sent, sent);
    rate(of, RATE_SENT, sent);
  }
  return 0;
}
