/* The addresses of sockets: as a task gave them, and as the kernel has them. */
#pragma once

#include "noting.h"


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
