/* Where the kernel asks before it does something: hooks of control groups on addresses, and those of BPF LSM. What is forbidden is
 * refused here. */
#pragma once

#include "sockets.h"


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
