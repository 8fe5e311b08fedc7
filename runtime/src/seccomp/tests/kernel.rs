//! The kernel accepts the programs and does as they say.
//!
//! A filter cannot be removed, so each test forks. The child makes system calls and nothing
//! else. Where it helps, the same is done without a filter first: a refusal proves something only
//! if the call would have succeeded, or failed otherwise.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use aegis_sys::notify;

use super::{super::*, every_spec, spec};

/// How a child ended: with a status, or by a signal.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Status(i32),
    Signal(i32),
}

const NOT_INSTALLED: i32 = 200;

/// Does `act` in a child under the program, or without one, and reports how it ended. What `act`
/// returns becomes the status.
fn child(
    program: Option<&Program>,
    listener: Listener,
    act: impl Fn(Option<OwnedFd>) -> i32,
) -> End {
    // SAFETY: the child makes only async-signal-safe calls (prctl, seccomp, those of `act`, _exit)
    // and never returns from here.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // SAFETY: prctl with plain numbers touches no memory.
        let prepared = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
        let status = match program.map(|program| install(program.as_slice(), listener)) {
            _ if !prepared => NOT_INSTALLED,
            Some(Err(_)) => NOT_INSTALLED,
            Some(Ok(descriptor)) => act(descriptor),
            None => act(None),
        };
        // SAFETY: ends this process, without running anything of the parent's.
        unsafe { libc::_exit(status) }
    }
    reap(pid)
}

fn reap(pid: i32) -> End {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result; the child is ours.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(reaped, pid);
    if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Status(libc::WEXITSTATUS(status))
    }
}

/// Makes a call and gives its error number, or 0.
fn call(number: libc::c_long, args: [u64; 4]) -> i32 {
    // SAFETY: every caller here passes numbers, or pointers to memory that lives long enough.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) };
    if result >= 0 {
        return 0;
    }
    // SAFETY: the calling thread's own errno.
    unsafe { *libc::__errno_location() }
}

fn default_program() -> Program {
    filter_for(&spec(Base::Default))
        .expect("a valid spec")
        .compile()
        .expect("short enough")
}

/// The error of a call without a filter, and under the `default` one.
fn both(number: libc::c_long, args: [u64; 4]) -> (End, End) {
    let act = |_| call(number, args);
    (
        child(None, Listener::None, act),
        child(Some(&default_program()), Listener::None, act),
    )
}

#[test]
fn the_kernel_takes_the_program_of_every_base() {
    for spec in every_spec() {
        let program = filter_for(&spec)
            .expect("a valid spec")
            .compile()
            .expect("short enough");
        let end = child(Some(&program), Listener::None, |_| {
            call(libc::SYS_getpid, [0; 4])
        });
        assert_eq!(end, End::Status(0), "{spec:?}");
    }
}

#[test]
fn tiocsti_is_refused_whatever_the_high_half_holds() {
    for request in [0x5412, 0xDEAD_BEEF_0000_5412] {
        let (without, with) = both(libc::SYS_ioctl, [u64::MAX, request, 0, 0]);
        assert_eq!(without, End::Status(libc::EBADF));
        assert_eq!(with, End::Status(libc::EPERM));
    }
}

#[test]
fn no_user_namespace_can_be_made() {
    let new_user = libc::CLONE_NEWUSER as u64;
    let (_, with) = both(libc::SYS_unshare, [new_user, 0, 0, 0]);
    assert_eq!(with, End::Status(libc::EPERM));
    let (_, with) = both(libc::SYS_clone, [new_user | libc::SIGCHLD as u64, 0, 0, 0]);
    assert_eq!(with, End::Status(libc::EPERM));
    let (without, with) = both(libc::SYS_clone3, [0; 4]);
    assert_eq!(without, End::Status(libc::EINVAL));
    assert_eq!(with, End::Status(libc::ENOSYS));
}

#[test]
fn a_vsock_is_of_no_supported_family() {
    let (_, with) = both(libc::SYS_socket, [libc::AF_VSOCK as u64, 1, 0, 0]);
    assert_eq!(with, End::Status(libc::EAFNOSUPPORT));
    let (_, with) = both(libc::SYS_socket, [libc::AF_INET as u64, 1, 0, 0]);
    assert_eq!(with, End::Status(0));
}

#[test]
fn a_tracer_may_skip_a_call() {
    assert_eq!(
        both(-1, [0; 4]),
        (End::Status(libc::ENOSYS), End::Status(libc::ENOSYS))
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_x32_call_kills() {
    let (without, with) = both(0x4000_0000 | libc::SYS_getpid, [0; 4]);
    assert!(matches!(without, End::Status(_)), "{without:?}");
    assert_eq!(with, End::Signal(libc::SIGSYS));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_call_kills() {
    let getpid = |_| {
        let mut result = 20_u32; // __NR_getpid of i386
        // SAFETY: getpid takes nothing and touches no memory; the kernel clobbers r8 to r11.
        unsafe {
            std::arch::asm!("int 0x80", inout("eax") result,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        i32::from(result as i32 <= 0)
    };
    let without = child(None, Listener::None, getpid);
    assert!(matches!(without, End::Status(_)), "{without:?}");
    assert_eq!(
        child(Some(&default_program()), Listener::None, getpid),
        End::Signal(libc::SIGSYS)
    );
}

#[test]
fn the_kernel_drops_setid_bits_that_mkdir_asks_for() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let path = scratch.path().join("made");
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL");
    let name: &CStr = &name;
    let (at, mode) = (libc::AT_FDCWD as u64, 0o6755);
    let act = |_| call(libc::SYS_mkdirat, [at, name.as_ptr() as u64, mode, 0]);
    assert_eq!(
        child(Some(&default_program()), Listener::None, act),
        End::Status(0)
    );
    let made = fs::metadata(&path)
        .expect("it was made")
        .permissions()
        .mode();
    assert_eq!(made & 0o6000, 0);
}

#[test]
fn a_second_listener_is_refused() {
    let act = |_| {
        let allow = [libc::sock_filter {
            code: 6,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        }];
        let error = install(&allow, Listener::Interruptible).err();
        let plain = install(&allow, Listener::None).is_ok();
        if plain {
            error.and_then(|error| error.raw_os_error()).unwrap_or(0)
        } else {
            NOT_INSTALLED
        }
    };
    assert_eq!(child(None, Listener::None, act), End::Status(0));
    let end = child(Some(&default_program()), Listener::None, act);
    assert_eq!(end, End::Status(libc::EBUSY));
}

#[test]
fn a_listener_hears_of_refused_calls_and_answers_them() {
    let spec = SyscallSpec {
        notify: true,
        ..spec(Base::Default)
    };
    let program = filter_for(&spec)
        .expect("a valid spec")
        .compile()
        .expect("short enough");
    for listener in [Listener::Interruptible, Listener::WaitKillable] {
        let end = child(Some(&program), listener, |listener| {
            let Some(listener) = listener else {
                return 1;
            };
            // SAFETY: the grandchild makes one call and ends.
            let asking = unsafe { libc::fork() };
            if asking == 0 {
                let error = call(libc::SYS_mount, [0; 4]);
                // SAFETY: ends this process, without running anything of its parents'.
                unsafe { libc::_exit(error) }
            }
            answer(&listener, libc::SYS_mount as i32, libc::EXDEV);
            i32::from(reap(asking) != End::Status(libc::EXDEV))
        });
        assert_eq!(end, End::Status(0), "{listener:?}");
    }
}

/// Takes one notification and answers it with an error, if it is for the expected call.
fn answer(listener: &OwnedFd, expected: i32, errno: i32) {
    if let Ok(Some(call)) = notify::receive(listener.as_fd()) {
        let error = if call.data.nr == expected {
            errno
        } else {
            libc::EIO
        };
        // A caller that gets no answer fails the test.
        let _ = notify::answer(listener.as_fd(), &call, error);
    }
}
