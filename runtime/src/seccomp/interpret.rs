//! Runs a program as the kernel would, for tests and for `--explain`.
//!
//! It knows the instructions that [`super::Program`] may hold (a part of
//! `kernel/seccomp.c:seccomp_check_filter`), and takes anything else for a fault.

use libc::sock_filter;

use super::SeccompData;

/// Why a program could not be run to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A jump, or the lack of a return, led past the last instruction.
    #[error("the program runs past its end at instruction {0}")]
    PastTheEnd(usize),
    /// An instruction that the compiler does not emit.
    #[error("instruction {at} has the unknown code {code:#x}")]
    UnknownInstruction {
        /// Where.
        at: usize,
        /// What it says.
        code: u16,
    },
    /// A load from outside `seccomp_data`, or not on a word's boundary.
    #[error("instruction {0} loads from outside seccomp_data")]
    BadLoad(usize),
}

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const JUMP_GT: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const JUMP_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// The value that the program returns for a call: see [`super::Action::from_return`].
///
/// # Errors
/// When the program is not one that the compiler emits.
pub fn interpret(program: &[sock_filter], data: &SeccompData) -> Result<u32, Fault> {
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    loop {
        let instruction = program.get(at).ok_or(Fault::PastTheEnd(at))?;
        let k = instruction.k;
        let mut jump = |taken: bool| {
            at += 1 + usize::from(if taken {
                instruction.jt
            } else {
                instruction.jf
            });
        };
        match instruction.code {
            LOAD => {
                accumulator = word(data, k).ok_or(Fault::BadLoad(at))?;
                at += 1;
            }
            AND => {
                accumulator &= k;
                at += 1;
            }
            JUMP => at = at.saturating_add(1).saturating_add(k as usize),
            JUMP_EQ => jump(accumulator == k),
            JUMP_GE => jump(accumulator >= k),
            JUMP_GT => jump(accumulator > k),
            JUMP_SET => jump(accumulator & k != 0),
            RETURN => return Ok(k),
            code => return Err(Fault::UnknownInstruction { at, code }),
        }
    }
}

/// The word of `seccomp_data` at a byte offset, on a little-endian machine.
fn word(data: &SeccompData, offset: u32) -> Option<u32> {
    let half = |value: u64, index: u32| (value >> (32 * (index % 2))) as u32;
    let index = offset / 4;
    match index {
        _ if !offset.is_multiple_of(4) => None,
        0 => Some(data.nr),
        1 => Some(data.arch),
        2 | 3 => Some(half(data.instruction_pointer, index)),
        4..16 => Some(half(data.args[(index as usize - 4) / 2], index)),
        _ => None,
    }
}
