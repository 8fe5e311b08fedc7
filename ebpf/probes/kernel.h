/* The parts of the kernel's structures that the probes read. Offsets are filled in when the probes are loaded
 * (CO-RE), so what is written here is the fields' names and kinds, not where they are. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KERNEL __attribute__((preserve_access_index))

struct qstr {
  __u64 hash_len;
  const unsigned char *name;
} KERNEL;

struct hlist_bl_node {
  struct hlist_bl_node **pprev;
} KERNEL;

struct super_block {
  __u32 s_dev;
} KERNEL;

struct inode {
  __u16 i_mode;
  __u64 i_ino;
  struct super_block *i_sb;
} KERNEL;

struct dentry {
  struct hlist_bl_node d_hash;
  struct dentry *d_parent;
  struct qstr d_name;
  struct inode *d_inode;
} KERNEL;

struct vfsmount {
  struct dentry *mnt_root;
} KERNEL;

struct mount {
  struct mount *mnt_parent;
  struct dentry *mnt_mountpoint;
  struct vfsmount mnt;
} KERNEL;

struct path {
  struct vfsmount *mnt;
  struct dentry *dentry;
} KERNEL;

struct file {
  __u32 f_mode;
  unsigned int f_flags;
  struct path f_path;
  struct inode *f_inode;
  void *private_data;
} KERNEL;

struct fdtable {
  unsigned int max_fds;
  struct file **fd;
} KERNEL;

typedef struct {
  int counter;
} KERNEL atomic_t;

struct files_struct {
  atomic_t count;
  struct fdtable *fdt;
} KERNEL;

struct fs_struct {
  struct path pwd;
} KERNEL;

struct ns_common {
  unsigned int inum;
} KERNEL;

struct task_struct;

struct pid_namespace {
  struct task_struct *child_reaper;
  unsigned int level;
  struct pid_namespace *parent;
  struct ns_common ns;
} KERNEL;

struct nsproxy {
  struct pid_namespace *pid_ns_for_children;
} KERNEL;

struct thread_info {
  __u32 status; /* x86: TS_COMPAT */
} KERNEL;

struct task_struct {
  struct thread_info thread_info;
  int pid;
  int tgid;
  __u64 start_time;
  struct task_struct *real_parent;
  struct nsproxy *nsproxy;
  struct fs_struct *fs;
  struct files_struct *files;
} KERNEL;

struct linux_binprm {
  struct file *file;
  const char *filename;
} KERNEL;

struct in6_addr {
  __u32 words[4];
};

struct sock_common {
  __u32 skc_daddr;
  __u32 skc_rcv_saddr;
  __u16 skc_dport;
  __u16 skc_num;
  unsigned short skc_family;
  struct in6_addr skc_v6_daddr;
  struct in6_addr skc_v6_rcv_saddr;
} KERNEL;

struct sock {
  struct sock_common __sk_common;
  __u16 sk_type;
} KERNEL;

struct socket {
  struct sock *sk;
} KERNEL;

#ifdef __TARGET_ARCH_x86
struct pt_regs {
  unsigned long di, si, dx, r10, r8, r9, ax, orig_ax;
} KERNEL;
#define NUMBER(regs) ((regs)->orig_ax)
#define ARGUMENTS(regs, out)                                                                                       \
  do {                                                                                                             \
    (out)[0] = (regs)->di, (out)[1] = (regs)->si, (out)[2] = (regs)->dx;                                           \
    (out)[3] = (regs)->r10, (out)[4] = (regs)->r8, (out)[5] = (regs)->r9;                                          \
  } while (0)
#define IS_COMPAT(task) ((task)->thread_info.status & 2 /* TS_COMPAT, asm/thread_info.h */)
#else
struct pt_regs {
  __u64 regs[31];
  __u64 orig_x0;
  __s32 syscallno;
} KERNEL;
#define NUMBER(regs) ((regs)->syscallno)
#define ARGUMENTS(regs, out)                                                                                       \
  do {                                                                                                             \
    (out)[0] = (regs)->orig_x0, (out)[1] = (regs)->regs[1], (out)[2] = (regs)->regs[2];                            \
    (out)[3] = (regs)->regs[3], (out)[4] = (regs)->regs[4], (out)[5] = (regs)->regs[5];                            \
  } while (0)
#define IS_COMPAT(task) 0 /* 32-bit tasks of arm64 are refused by the sandbox's filter */
#endif

#undef container_of
#define container_of(pointer, type, member)                                                                        \
  ((type *)((void *)(pointer)-bpf_core_field_offset(type, member)))
