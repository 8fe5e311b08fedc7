/* What probes and loader share. The loader has the same layout in `src/note.rs`, and checks each length. */
#pragma once

#include <linux/types.h>

#define SANDBOXES 64
#define QUICK 1024         /* a power of two */
#define CALLS 512
#define DEPTH 4            /* sandboxes around a task; a power of two */
#define SEEN (1 << 18)     /* notes of all sandboxes */
#define PERMITTED (1 << 16)
#define CONDEMNED 1024     /* tasks at one time */
#define NOTES (1 << 16)    /* notes of one sandbox */
#define RING (16 << 20)    /* bytes */
#define TEXT 4096          /* PATH_MAX */
#define NAME 256           /* NAME_MAX and its NUL */
#define COMPONENTS 256     /* of a path */
#define DATA 16384         /* a power of two: text, base and path */
#define DATA_ROOM (DATA + NAME)
#define SCRATCHES 4        /* of each processor */

enum {
  CALL_PATH = 1,  /* names a path */
  CALL_OPEN = 2,  /* returns a descriptor of it */
  CALL_SOCKET = 3,
  CALL_LISTEN = 4,
  CALL_BIND = 5,
  CALL_CONNECT = 6,
  CALL_SEND = 7,
  CALL_SEND_MESSAGE = 8, /* noted as CALL_SEND */
  NOTE_EXECUTED = 9,
  NOTE_OPENED = 10, /* by the hook: without what was asked for */
};

enum { CALL_FAILED_ONLY = 1 };
enum {
  NOTE_TRUNCATED = 1,
  NOTE_UNREADABLE = 2,
  NOTE_DELETED = 4,
  NOTE_BASE_IN_PATH = 8, /* its end */
  NOTE_REFUSED = 16,
};

/* Of a sandbox: whoever observes is woken for each note; what is executed, or reached, is killed unless it is permitted, or
 * refused, where that can be. HAS_HOOKS: the hooks of BPF LSM see what it does. */
enum { WANTS_NEWS = 1, WANTS_PROGRAMS = 2, WANTS_ADDRESSES = 4, WANTS_REFUSAL = 8, HAS_HOOKS = 16 };

/* What is counted by the second. */
enum { RATE_OPENED = 0, RATE_FORKS = 1, RATE_SENT = 2, RATES = 3 };

/* What is noted of a system call: the numbers of its arguments, 0xff for none. */
struct call {
  __u8 kind;
  __u8 flags;
  __u8 path;
  __u8 directory;
  __u8 second_path;
  __u8 second_directory;
};

/* One of the namespaces whose number ends in the same bits, and whether others do as well. */
struct quick {
  __u32 inum;
  __u32 slot;
  __u32 others;
};

struct sandbox {
  __u64 called[2][8]; /* by number: natively, by another ABI */
  __u64 denied[3][8]; /* with EPERM, EACCES, ENOSYS */
  __u64 capabilities[2]; /* had, lacked */
  __u64 signals_outside;
  __u64 executions;
  __u64 forks;
  __s64 tasks;
  __s64 most_tasks;
  __u64 notes;
  __u64 unsent;     /* noted, and not sent yet */
  __u64 lost_state; /* not noted for want of room */
  __u64 sent;        /* bytes, by sockets of the Internet families */
  __u64 second[RATES]; /* when the present second began, and how much there was in it: see `rate` */
  __u64 most[RATES];   /* in one second */
  __u32 began;
  __u32 wants; /* WANTS_* */
};

/* Something that a guarded sandbox may do: a program, an address. */
struct permitted {
  __u32 slot;
  __u32 of; /* WANTS_* */
  __u64 hash;
};

/* What tells two notes apart. */
struct seen {
  __u32 slot;
  __u16 kind;
  __u16 call;
  __s64 result;
  __u32 access;
  __u32 device;
  __u64 inode;
  __u64 name;
  __u64 mount;
  __u64 base;
  __u64 text;
};

struct note {
  __u32 slot;
  __u16 kind;
  __u16 call;
  __s64 result;
  __u64 time; /* nanoseconds since boot */
  __u32 pid;
  __u32 parent;
  __u64 inode;
  __u32 device;
  __u32 access;
  __u16 mode;
  __u16 flags;
  __u32 length; /* of data: text, path, and base unless that is in the path, one after the other */
  __u32 text;
  __u32 base;
  __u32 path;
  struct {
    __u16 family;
    __u16 port;
    __u32 words[4];
  } address;
  __u8 data[DATA_ROOM];
};

/* Where a path is to be written from. */
struct place {
  void *mount;
  void *dentry;
};

struct scratch {
  __u32 number;
  __u32 taken;
  struct note note;
  struct seen seen;
  struct place base;
  struct place file;
};
