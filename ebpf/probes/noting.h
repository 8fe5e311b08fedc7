/* How a note comes about: the paths in it, what is forbidden by them, and sending it once. */
#pragma once

#include "sandboxes.h"

/* --- Paths ------------------------------------------------------------------------------------------------------ */

struct walk {
  __u32 scratch;
  struct dentry *dentry;
  struct vfsmount *vfsmount;
  struct dentry *root; /* of that mount */
  struct place base;   /* where this is met, the rest of the path is its path */
  __u32 base_at;
};

/* One step towards the root: a name, or from the root of a mount to where that is mounted. */
static long step(__u32 index, void *data) {
  struct walk *walk = data;
  struct scratch *to = scratch(walk->scratch);
  if (!to) return 1;
  struct dentry *dentry = walk->dentry;
  struct vfsmount *vfsmount = walk->vfsmount;
  if (dentry == walk->base.dentry && vfsmount == walk->base.mount) walk->base_at = to->note.length;
  if (dentry == walk->root) {
    struct mount *mount = container_of(vfsmount, struct mount, mnt);
    struct mount *parent = BPF_CORE_READ(mount, mnt_parent);
    if (parent == mount) return 1;
    walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
    walk->vfsmount = (struct vfsmount *)((void *)parent + bpf_core_field_offset(struct mount, mnt));
    walk->root = BPF_CORE_READ(parent, mnt.mnt_root);
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

/* Appends the names of a path, last first, each with a NUL. Returns where those of the base of the text begin in it; 0: it
 * is not below that. */
static __attribute__((noinline)) int append_path(struct scratch *to, struct place *place) {
  if (!place->dentry) return 0;
  struct vfsmount *mount = place->mount;
  struct walk walk = {.scratch = to->number,
                      .dentry = place->dentry,
                      .vfsmount = mount,
                      .root = BPF_CORE_READ(mount, mnt_root),
                      .base = to->base};
  bpf_loop(COMPONENTS, step, &walk, 0);
  return walk.base_at;
}

/* Appends the path of the file, and of the base of the text what is not in that. */
static __always_inline void append_paths(struct scratch *to) {
  __u32 before = to->note.length;
  __u32 base_at = append_path(to, &to->file);
  to->note.path = to->note.length - before;
  if (base_at) {
    to->note.flags |= NOTE_BASE_IN_PATH;
    to->note.base = to->note.length - base_at;
  } else {
    before = to->note.length;
    append_path(to, &to->base);
    to->note.base = to->note.length - before;
  }
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
  __u32 scratch;
  __u64 hash;
  __u32 length;
};

static long mix(__u32 index, void *data) {
  struct digest *digest = data;
  struct scratch *from = scratch(digest->scratch);
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
  struct digest digest = {.scratch = to->number, .hash = SECRET, .length = length};
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

/* What becomes of a program that a guarded sandbox may not execute: by its path, which is written to the note and taken out again. */
static __attribute__((noinline)) int forbids_program(struct scratch *to, struct file *program, const struct inside *inside) {
  if (!wants(inside, WANTS_PROGRAMS)) return 0;
  file(to, program);
  to->note.length = 0;
  append_path(to, &to->file);
  __u32 length = to->note.length;
  /* What has no name any more, or is cut off, is nothing that was named before. */
  bool nameless = to->note.flags & (NOTE_DELETED | NOTE_TRUNCATED) || length >= TEXT;
  struct digest digest = {.scratch = to->number, .hash = SECRET, .length = length};
  if (!nameless) bpf_loop(TEXT / 8, mix, &digest, 0);
  to->note.length = to->note.flags = 0;
  /* 0 is the hash of no name. */
  __u64 hashes[2] = {nameless ? 0 : digest.hash};
  hashes[1] = hashes[0];
  return forbids(inside, WANTS_PROGRAMS, hashes);
}

/* What becomes of an address that a guarded sandbox may not reach, with its port or with each. */
static __attribute__((noinline)) int forbids_address(const struct inside *inside, __u16 family, __u16 port,
                                                     const __u32 *words) {
  __u64 hashes[2];
  for (int any = 0; any < 2; any++) {
    __u64 hash = OWN_HASH(SECRET ^ (__u64)family << 16 ^ (any ? 0 : port));
    hash = OWN_HASH(hash ^ hash >> 29 ^ ((__u64)words[1] << 32 | words[0]));
    hashes[any] = OWN_HASH(hash ^ hash >> 29 ^ ((__u64)words[3] << 32 | words[2]));
  }
  return forbids(inside, WANTS_ADDRESSES, hashes);
}

/* Whether the note was sent for every sandbox around the task. */
static __always_inline bool all_sent(struct scratch *to, const struct inside *inside) {
  EACH(i, inside) {
    to->seen.slot = inside->slots[i];
    __u32 *sent = bpf_map_lookup_elem(&seen, &to->seen);
    if (!sent || !*sent) return false;
  }
  return true;
}

/* Sends the note to a sandbox, if that has not had it. */
static __attribute__((noinline)) int send_to(struct scratch *to, __u32 slot) {
  struct sandbox *of = bpf_map_lookup_elem(&sandboxes, &slot);
  if (!of || !of->began) return 0;
  to->note.slot = to->seen.slot = slot;
  __u32 *sent = bpf_map_lookup_elem(&seen, &to->seen);
  if (sent) {
    if (__sync_lock_test_and_set(sent, 1)) return 0;
    __sync_fetch_and_add(&of->unsent, -1);
  } else {
    __u32 yes = 1;
    long error = of->notes < NOTES ? bpf_map_update_elem(&seen, &to->seen, &yes, BPF_NOEXIST) : -E2BIG;
    if (error == -EEXIST) return 0; /* another processor is sending the same just now */
    if (error) {
      __sync_fetch_and_add(&of->lost_state, 1);
      return 0;
    }
    __sync_fetch_and_add(&of->notes, 1);
  }
  __u64 size = sizeof(struct note) - DATA_ROOM + (to->note.length & (2 * DATA - 1));
  if (size > sizeof(struct note)) size = sizeof(struct note);
  __u64 wake = of->wants & WANTS_NEWS ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
  if (!bpf_ringbuf_output(&ring, &to->note, size, wake)) return 0;
  __sync_fetch_and_add(&of->unsent, 1);
  sent = bpf_map_lookup_elem(&seen, &to->seen);
  if (sent) *sent = 0;
  return 0;
}

/* Sends the note to each sandbox around the task that has not had it. */
static __attribute__((noinline)) int send(struct scratch *to, const struct inside *inside) {
  to->seen.result = to->note.result < 0 ? to->note.result : 0;
  to->seen.access = to->note.access;
  /* Most is done again and again: only what is new is worth a walk. */
  if (all_sent(to, inside)) return 0;
  append_paths(to);
  EACH(i, inside) send_to(to, inside->slots[i]);
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
