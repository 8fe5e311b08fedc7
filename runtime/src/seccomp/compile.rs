//! Compiles a filter to classic BPF.
//!
//! The kernel pays for every instruction when it loads a program (it checks, translates and JITs
//! them), and runs the program once for each number to learn which calls are always allowed
//! (`kernel/seccomp.c:seccomp_cache_prepare`). So programs are kept both short and shallow:
//!
//! * Neighbouring numbers with the same answer are one segment.
//! * Segments are gathered into blocks that have one usual answer and at most [`EXCEPTIONS`] numbers
//!   that differ, which cost one comparison each.
//! * Blocks are found by bisection.
//! * Equal answers are emitted once and shared, those with argument rules too.
//!
//! Instructions are made from the last to the first, so that every jump goes to one that exists
//! already. A conditional jump reaches 255 instructions; a farther target is reached through a `JA`, or,
//! if it is a return, repeated nearby.

use libc::sock_filter;

use super::{
    Action, Condition, Filter, Op, SyscallRule, Width,
    arch::Arch,
    interpret::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, JUMP_SET, LOAD, RETURN},
    policy::{SKIPPED, X32_BIT},
};

/// `BPF_MAXINSNS` (`linux/bpf_common.h`): the kernel takes no longer program.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// How many numbers of a block may differ from its usual answer. Three comparisons in a row are as
/// deep as bisecting the seven segments that they replace, and half as many.
const EXCEPTIONS: usize = 3;

/// How far a conditional jump reaches.
const REACH: usize = u8::MAX as usize;

/// Offsets of the fields of `seccomp_data` (`linux/seccomp.h`).
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// A filter in the form that the kernel takes.
pub type Program = Vec<sock_filter>;

/// The filter takes this many instructions, more than the kernel accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the filter takes {0} instructions and the kernel accepts {MAX_INSTRUCTIONS}: use fewer rules \
     with arguments"
)]
pub struct TooLong(pub usize);

impl Filter {
    /// The program that answers as [`Filter::evaluate`] does, for every input. The same filter gives
    /// the same program.
    ///
    /// # Errors
    /// When the program is longer than the kernel accepts.
    pub fn compile(&self) -> Result<Program, TooLong> {
        let default = SyscallRule::always(self.default);
        let segments = segments(self, &default);
        let blocks = blocks(&segments);
        let mut emitter = Emitter {
            reversed: Vec::with_capacity(256),
            ..Emitter::default()
        };
        let found = emitter.find(&blocks);
        let entry = emitter.before(LOAD, NR, found);
        let kill = JumpTarget::Return(Action::KillProcess.to_return());
        let checked = emitter.branch(JUMP_EQ, self.arch.audit(), entry, kill);
        emitter.before(LOAD, ARCH, checked);
        let mut instructions = emitter.reversed;
        if instructions.len() > MAX_INSTRUCTIONS {
            return Err(TooLong(instructions.len()));
        }
        instructions.reverse();
        Ok(instructions)
    }
}

/// Numbers from `start` up to the next segment's, all with one answer.
#[derive(Clone, Copy)]
struct Segment<'f> {
    start: u32,
    answer: &'f SyscallRule,
}

const ALLOW: &SyscallRule = &SyscallRule::always(Action::Allow);
const KILL: &SyscallRule = &SyscallRule::always(Action::KillProcess);

/// The whole range of numbers, from 0 to `u32::MAX`, as segments.
fn segments<'f>(filter: &'f Filter, default: &'f SyscallRule) -> Vec<Segment<'f>> {
    let mut segments: Vec<Segment<'_>> = Vec::with_capacity(128);
    let mut push = |start, answer| {
        if segments.last().is_none_or(|last| last.answer != answer) {
            segments.push(Segment { start, answer });
        }
    };
    let end = if filter.arch == Arch::X86_64 {
        X32_BIT
    } else {
        SKIPPED
    };
    let mut next = 0;
    for (number, rule) in filter.rules.iter().take_while(|(number, _)| *number < end) {
        if number > next {
            push(next, default);
        }
        push(number, rule);
        next = number + 1;
    }
    if next < end {
        push(next, default);
    }
    if end < SKIPPED {
        push(end, KILL);
    }
    push(SKIPPED, ALLOW);
    segments
}

/// Consecutive segments, all with the usual answer except for a few numbers.
struct Block<'s, 'f> {
    segments: &'s [Segment<'f>],
    usual: &'f SyscallRule,
}

/// Takes the segments from left to right, each time the longest block at their beginning. Its usual
/// answer is that of its first segment, or of its second when the first is an exception.
fn blocks<'s, 'f>(mut rest: &'s [Segment<'f>]) -> Vec<Block<'s, 'f>> {
    let mut blocks = Vec::with_capacity(rest.len() / 4 + 1);
    while let Some(first) = rest.first() {
        let mut usual = first.answer;
        let mut taken = block_length(rest, usual);
        if let Some(second) = rest.get(1) {
            let other = block_length(rest, second.answer);
            if other > taken {
                (usual, taken) = (second.answer, other);
            }
        }
        let (segments, after) = rest.split_at(taken);
        blocks.push(Block { segments, usual });
        rest = after;
    }
    blocks
}

/// The length of the longest block, with this usual answer, at the beginning of the segments.
fn block_length(segments: &[Segment<'_>], usual: &SyscallRule) -> usize {
    let mut exceptions = 0;
    for (at, segment) in segments.iter().enumerate() {
        if segment.answer != usual {
            let last = segments.get(at + 1).map_or(u32::MAX, |next| next.start - 1);
            if segment.start != last || exceptions == EXCEPTIONS {
                return at;
            }
            exceptions += 1;
        }
    }
    segments.len()
}

/// The target of a jump.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JumpTarget {
    /// Any return of this value.
    Return(u32),
    /// The instruction at this index in [`Emitter::reversed`].
    At(usize),
}

/// What the accumulator holds: a word of `seccomp_data`, and which of its bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Accumulator {
    offset: u32,
    mask: u32,
}

impl Accumulator {
    const fn whole(offset: u32) -> Self {
        let mask = u32::MAX;
        Self { offset, mask }
    }
}

/// The instructions after a comparison. The load that they begin with is emitted only for jumps that
/// arrive without the word in the accumulator.
#[derive(Clone, Copy)]
struct Next {
    /// Where to go when the accumulator holds `needs`; a return needs nothing.
    ready: JumpTarget,
    needs: Option<Accumulator>,
    /// Where to go otherwise, once this was emitted.
    loading: Option<JumpTarget>,
}

impl Next {
    const fn action(action: Action) -> Self {
        Self {
            ready: JumpTarget::Return(action.to_return()),
            needs: None,
            loading: None,
        }
    }
}

/// A program being made, last instruction first.
#[derive(Default)]
struct Emitter<'f> {
    reversed: Vec<sock_filter>,
    /// The last emitted return of each value.
    returns: Vec<(u32, usize)>,
    /// The rules that were emitted, and where they are.
    rules: Vec<(&'f SyscallRule, JumpTarget)>,
}

impl<'f> Emitter<'f> {
    /// Finds the block of the number in the accumulator, and its answer.
    fn find(&mut self, blocks: &[Block<'_, 'f>]) -> JumpTarget {
        if let [block] = blocks {
            let usual = self.answer(block.usual);
            let exceptions = block
                .segments
                .iter()
                .filter(|segment| segment.answer != block.usual);
            return exceptions.rev().fold(usual, |other, exception| {
                let answer = self.answer(exception.answer);
                self.branch(JUMP_EQ, exception.start, answer, other)
            });
        }
        let (low, high) = blocks.split_at(blocks.len() / 2);
        let start = high[0].segments[0].start;
        let high = self.find(high);
        let low = self.find(low);
        self.branch(JUMP_GE, start, high, low)
    }

    fn answer(&mut self, rule: &'f SyscallRule) -> JumpTarget {
        if rule.arms.is_empty() {
            return JumpTarget::Return(rule.otherwise.to_return());
        }
        if let Some((_, target)) = self.rules.iter().find(|(known, _)| *known == rule) {
            return *target;
        }
        let mut next = Next::action(rule.otherwise);
        for arm in rule.arms.iter().rev() {
            let mut holds = Next::action(arm.then);
            for condition in arm.when.iter().rev() {
                holds = self.condition(condition, &mut holds, &mut next);
            }
            next = holds;
        }
        let target = self.enter(&mut next, None);
        self.rules.push((rule, target));
        target
    }

    fn condition(&mut self, condition: &Condition, yes: &mut Next, no: &mut Next) -> Next {
        match condition.op {
            Op::Eq(value) => self.equal(condition, u64::MAX, value, yes, no),
            Op::Ne(value) => self.equal(condition, u64::MAX, value, no, yes),
            Op::MaskedEq { mask, value } => self.equal(condition, mask, value, yes, no),
            Op::Le(value) => self.above(condition, value, no, yes),
        }
    }

    fn equal(
        &mut self,
        condition: &Condition,
        mask: u64,
        value: u64,
        yes: &mut Next,
        no: &mut Next,
    ) -> Next {
        let offset = ARGS + 8 * u32::from(condition.arg());
        let mut lower = self.same(offset, low(mask), low(value), yes, no);
        match condition.width {
            Width::Bits32 => lower,
            Width::Bits64 => self.same(offset + 4, high(mask), high(value), &mut lower, no),
        }
    }

    /// Greater: where the high halves are the same, the low ones decide.
    fn above(&mut self, condition: &Condition, value: u64, yes: &mut Next, no: &mut Next) -> Next {
        let offset = ARGS + 8 * u32::from(condition.arg());
        let mut lower = self.greater(offset, low(value), yes, no);
        match condition.width {
            Width::Bits32 => lower,
            Width::Bits64 => {
                let mut same = self.same(offset + 4, u32::MAX, high(value), &mut lower, no);
                self.greater(offset + 4, high(value), yes, &mut same)
            }
        }
    }

    /// Compares bits of the word at `offset`, unless the result is known without looking.
    fn same(&mut self, offset: u32, mask: u32, value: u32, yes: &mut Next, no: &mut Next) -> Next {
        let whole = Accumulator::whole(offset);
        match (mask, value) {
            _ if value & !mask != 0 => *no,
            (0, _) => *yes,
            (u32::MAX, _) => self.jump(JUMP_EQ, value, whole, yes, no),
            (_, 0) => self.jump(JUMP_SET, mask, whole, no, yes),
            _ if mask == value && mask.is_power_of_two() => {
                self.jump(JUMP_SET, mask, whole, yes, no)
            }
            _ => self.jump(JUMP_EQ, value, Accumulator { offset, mask }, yes, no),
        }
    }

    fn greater(&mut self, offset: u32, value: u32, yes: &mut Next, no: &mut Next) -> Next {
        match value {
            u32::MAX => *no,
            _ => self.jump(JUMP_GT, value, Accumulator::whole(offset), yes, no),
        }
    }

    fn jump(
        &mut self,
        code: u16,
        k: u32,
        held: Accumulator,
        yes: &mut Next,
        no: &mut Next,
    ) -> Next {
        let no = self.enter(no, Some(held));
        let yes = self.enter(yes, Some(held));
        let ready = self.branch(code, k, yes, no);
        Next {
            ready,
            needs: Some(held),
            loading: None,
        }
    }

    /// Where to go for `next` when the accumulator holds `held`.
    fn enter(&mut self, next: &mut Next, held: Option<Accumulator>) -> JumpTarget {
        let Some(needs) = next.needs.filter(|_| held != next.needs) else {
            return next.ready;
        };
        *next.loading.get_or_insert_with(|| {
            let masked = match needs.mask {
                u32::MAX => next.ready,
                mask => self.before(AND, mask, next.ready),
            };
            self.before(LOAD, needs.offset, masked)
        })
    }

    /// Emits an instruction that goes on to `next`.
    fn before(&mut self, code: u16, k: u32, next: JumpTarget) -> JumpTarget {
        if next != JumpTarget::At(self.reversed.len().wrapping_sub(1)) {
            self.detour(next);
        }
        JumpTarget::At(self.push(code, k, 0, 0))
    }

    fn branch(&mut self, code: u16, k: u32, yes: JumpTarget, no: JumpTarget) -> JumpTarget {
        if yes == no {
            return yes;
        }
        // Bringing the second within reach may add an instruction, which the first must reach across.
        let yes = self.within_reach(yes, 1);
        let no = self.within_reach(no, 0);
        let here = self.reversed.len();
        let distance = |to: usize| (here - to - 1) as u8;
        JumpTarget::At(self.push(code, k, distance(yes), distance(no)))
    }

    /// An index that leads to the target and is still within reach after `more` further instructions.
    fn within_reach(&mut self, target: JumpTarget, more: usize) -> usize {
        let here = self.reversed.len();
        let reaches = |place: &usize| here + more - place - 1 <= REACH;
        let known = match target {
            JumpTarget::At(place) => Some(place),
            JumpTarget::Return(value) => self.returned(value).map(|(_, place)| *place),
        };
        known.filter(reaches).unwrap_or_else(|| self.detour(target))
    }

    fn returned(&mut self, value: u32) -> Option<&mut (u32, usize)> {
        self.returns.iter_mut().find(|(known, _)| *known == value)
    }

    /// Emits an instruction here that goes to the target.
    fn detour(&mut self, target: JumpTarget) -> usize {
        match target {
            JumpTarget::Return(value) => {
                let place = self.push(RETURN, value, 0, 0);
                match self.returned(value) {
                    Some(known) => known.1 = place,
                    None => self.returns.push((value, place)),
                }
                place
            }
            JumpTarget::At(place) => {
                let skipped = self.reversed.len() - place - 1;
                self.push(JUMP, skipped as u32, 0, 0)
            }
        }
    }

    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> usize {
        self.reversed.push(sock_filter { code, jt, jf, k });
        self.reversed.len() - 1
    }
}

const fn low(value: u64) -> u32 {
    value as u32
}

const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
