//! Runs a program as the kernel would, for tests.
//!
//! It knows the instructions that [`super::Program`] may hold (a part of
//! `kernel/seccomp.c:seccomp_check_filter`), and treats anything else as a fault.

use libc::sock_filter;

use super::SeccompData;

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const JUMP_GT: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const JUMP_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// The value that the program returns for a call: see [`super::Action::to_return`]. `None`: the compiler
/// does not emit such a program.
pub fn interpret(program: &[sock_filter], data: &SeccompData) -> Option<u32> {
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    loop {
        let instruction = program.get(at)?;
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
                accumulator = word(data, k)?;
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
            RETURN => return Some(k),
            _ => return None,
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
