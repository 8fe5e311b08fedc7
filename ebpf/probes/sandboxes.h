/* The maps; which observed sandboxes a task is in; what of them is guarded; rates; and where a note is put together. */
#pragma once

#include "kernel.h"
#include "notes.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AT_FDCWD (-100)
#define NONE 0xff
#define SIGKILL 9
#define FMODE_EXEC 0x20 /* linux/fs.h */
#define FMODE_NOACCOUNT 0x20000000
#define EPERM 1
#define E2BIG 7
#define EFAULT 14
#define EEXIST 17
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
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, PERMITTED);
  __type(key, struct permitted);
  __type(value, __u32);
} permitted SEC(".maps");

/* Tasks whose call was refused here, by number: when they began, since a number is another task's one day, and whether they
 * are killed when the call returns. */
struct refusal {
  __u64 began;
  __u64 kills;
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, CONDEMNED);
  __type(key, __u32);
  __type(value, struct refusal);
} condemned SEC(".maps");

/* Whether the hooks of BPF LSM are called: kernels load them also where they are not. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} called SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, RING);
} ring SEC(".maps");

/* Where a note is put together. Tracepoints are called with preemption off: they have the first of their processor. Hooks are
 * not, and take another. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, SCRATCHES);
  __type(key, __u32);
  __type(value, struct scratch);
} scratches SEC(".maps");

/* Keys the hash of texts, so that nobody can choose two that look the same. Set by the loader. */
const volatile __u64 SECRET = 0;
/* Its number. Set by the loader. */
const volatile __u32 RT_SIGRETURN = 0;

#define OWN_HASH(x) (((x) ^ SECRET) * 0x9fb21c651e98df25ULL)

/* The observed sandboxes that a task is in, innermost first. */
struct inside {
  __u32 slots[DEPTH];
  int count;
};

/* The observed sandboxes around a task, one after the other. Without a loop: older verifiers refuse those whose jump back has
 * become a mere falling through. */
#define EACH(i, inside) _Pragma("clang loop unroll(full)") for (int i = 0; i < DEPTH && i < (inside)->count; i++)

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

/* What becomes of something that a guarded sandbox may not do. */
enum { IS_REFUSED = 1, IS_KILLED = 2 };

/* What the sandboxes around the task say of this, of which one hash would have to be permitted; 0: nothing. */
static __attribute__((noinline)) int forbids(const struct inside *inside, __u32 of_what, const __u64 *hashes) {
  int says = 0;
  EACH(i, inside) {
    struct sandbox *of = sandbox(inside, i);
    if (!of || !of->began || !(of->wants & of_what)) continue;
    struct permitted key = {.slot = inside->slots[i & (DEPTH - 1)], .of = of_what, .hash = hashes[0]};
    if (bpf_map_lookup_elem(&permitted, &key)) continue;
    key.hash = hashes[1];
    if (bpf_map_lookup_elem(&permitted, &key)) continue;
    says |= IS_KILLED >> (of->wants / WANTS_REFUSAL & 1);
  }
  return says;
}

/* Whether a sandbox around the task wants this. */
static __attribute__((noinline)) bool wants(const struct inside *inside, __u32 what) {
  bool wants = false;
  EACH(i, inside) {
    struct sandbox *of = sandbox(inside, i);
    if (of && of->began && (of->wants & what)) wants = true;
  }
  return wants;
}

/* Adds to what there is in the present second, and keeps the most there was in one. A second begins with the first that is
 * added after the last one has ended. Its beginning (2^20 ns, 24 bits) and what there is in it are one word, so that processors
 * that add at once lose nothing. */
static __always_inline void rate(struct sandbox *of, int what, __u64 more) {
  const __u64 amount = (1ULL << 40) - 1, times = (1ULL << 24) - 1, later = 1000;
  __u64 now = (bpf_ktime_get_boot_ns() >> 20) & times;
  for (int tries = 0; tries < 8; tries++) {
    __u64 old = of->second[what];
    /* Another processor may have begun it a little later than now. */
    bool over = ((now - (old >> 40) + later) & times) > later + 953; /* 10^9 >> 20 */
    __u64 sum = (over ? 0 : old & amount) + more;
    if (sum > amount) sum = amount;
    if (__sync_val_compare_and_swap(&of->second[what], old, (over ? now << 40 : old & ~amount) | sum) != old) continue;
    for (int again = 0; again < 8; again++) {
      __u64 most = of->most[what];
      if (sum <= most || __sync_val_compare_and_swap(&of->most[what], most, sum) == most) return;
    }
    return;
  }
}

static __always_inline struct scratch *scratch(__u32 number) {
  return bpf_map_lookup_elem(&scratches, &number);
}

/* One for a hook, which has to give it back. */
static __always_inline struct scratch *take(void) {
  for (__u32 number = 1; number < SCRATCHES; number++) {
    struct scratch *to = scratch(number);
    if (!to || __sync_lock_test_and_set(&to->taken, 1)) continue;
    to->number = number;
    return to;
  }
  return 0;
}

static __always_inline void give_back(struct scratch *to) {
  __sync_lock_test_and_set(&to->taken, 0);
}
