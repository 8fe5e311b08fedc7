//! Any filter compiles to a program that answers as the filter does, for any call.
//!
//! The bytes are read as a filter and then as calls to try on it. What the calls compare with is taken
//! from the filter itself as often as not, since random words seldom meet a boundary.

#![no_main]

use aegis_runtime::seccomp::{
    Action, Arch, Arm, Condition, Filter, Op, Rules, SeccompData, SyscallRule, interpret,
};
use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};

#[derive(Debug)]
struct Input {
    filter: Filter,
    calls: Vec<SeccompData>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let mut seen = vec![0, u64::MAX, 1 << 32];
        let arch = *bytes.choose(&Arch::ALL)?;
        let default = action(bytes)?;
        let mut rules = Rules::default();
        for _ in 0..bytes.int_in_range(0..=480)? {
            let number = bytes.int_in_range(0..=511)?;
            rules.insert(number, rule(bytes, &mut seen)?);
        }
        let filter = Filter {
            arch,
            default,
            rules,
        };
        let mut calls = Vec::new();
        while !bytes.is_empty() && calls.len() < 256 {
            calls.push(call(bytes, arch, &seen)?);
        }
        Ok(Self { filter, calls })
    }
}

fn action(bytes: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match bytes.int_in_range(0..=4)? {
        0 | 1 => Action::Allow,
        2 => Action::Errno(bytes.int_in_range(0..=4095)?),
        3 => Action::Notify,
        _ => Action::KillProcess,
    })
}

fn rule(bytes: &mut Unstructured<'_>, seen: &mut Vec<u64>) -> Result<SyscallRule> {
    let mut arms = Vec::new();
    for _ in 0..bytes.int_in_range(0..=4)? {
        let mut when = Vec::new();
        for _ in 0..bytes.int_in_range(0..=3)? {
            when.push(condition(bytes, seen)?);
        }
        arms.push(Arm {
            when,
            then: action(bytes)?,
        });
    }
    let otherwise = action(bytes)?;
    Ok(SyscallRule { arms, otherwise })
}

fn condition(bytes: &mut Unstructured<'_>, seen: &mut Vec<u64>) -> Result<Condition> {
    let value = operand(bytes, seen)?;
    let op = match bytes.int_in_range(0..=3)? {
        0 => Op::Eq(value),
        1 => Op::Ne(value),
        2 => Op::Le(value),
        _ => Op::MaskedEq {
            mask: operand(bytes, seen)?,
            value,
        },
    };
    seen.push(value);
    let arg = bytes.int_in_range(0..=5)?;
    Ok(if bool::arbitrary(bytes)? {
        Condition::long(arg, op)
    } else {
        Condition::int(arg, op)
    })
}

/// A fresh word, or one beside a word that was seen before, perhaps with another high half.
fn operand(bytes: &mut Unstructured<'_>, seen: &[u64]) -> Result<u64> {
    if bool::arbitrary(bytes)? {
        return u64::arbitrary(bytes);
    }
    let word = *bytes.choose(seen)?;
    Ok(match bytes.int_in_range(0..=4)? {
        0 => word,
        1 => word.wrapping_add(1),
        2 => word.wrapping_sub(1),
        3 => word & 0xFFFF_FFFF,
        _ => word ^ (1 << 32),
    })
}

fn call(bytes: &mut Unstructured<'_>, arch: Arch, seen: &[u64]) -> Result<SeccompData> {
    let nr = match bytes.int_in_range(0..=7)? {
        0 => u32::arbitrary(bytes)?,
        1 => 0x4000_0000 | bytes.int_in_range(0..=511)?,
        _ => bytes.int_in_range(0..=511)?,
    };
    let arch = if bytes.ratio(1, 16)? {
        u32::arbitrary(bytes)?
    } else {
        arch.audit()
    };
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = operand(bytes, seen)?;
    }
    Ok(SeccompData {
        nr,
        arch,
        instruction_pointer: 0,
        args,
    })
}

fuzz_target!(|input: Input| {
    // Too long for the kernel is a fair answer.
    let Ok(program) = input.filter.compile() else {
        return;
    };
    for call in &input.calls {
        let returned = interpret(program.as_slice(), call);
        assert_eq!(
            returned,
            Some(input.filter.evaluate(call).to_return()),
            "{call:?}"
        );
    }
});
