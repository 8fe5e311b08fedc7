//! The law: a compiled program, interpreted, answers as [`Filter::evaluate`] does.

use std::collections::BTreeSet;

use proptest::{collection, prelude::*, sample};

use super::{super::*, every_spec};
use crate::seccomp::interpret::{AND, JUMP, LOAD, RETURN};
use crate::seccomp::{policy::X32_BIT, spec::filter_on};

/// The architectures of calls made another way: 32-bit x86, 32-bit Arm, nothing at all.
const OTHER_ARCHES: [u32; 4] = [0x4000_0003, 0x4000_0028, 0, u32::MAX];

/// Numbers at and around every boundary that a program knows.
fn numbers(filter: &Filter) -> BTreeSet<u32> {
    let mut numbers: BTreeSet<u32> = (0..1024).collect();
    let edges = [X32_BIT, X32_BIT | 520, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
    for edge in edges
        .into_iter()
        .chain(filter.rules.iter().map(|(number, _)| number))
    {
        numbers.extend([edge.wrapping_sub(1), edge, edge.wrapping_add(1)]);
    }
    numbers
}

/// The values that a rule compares with, and their neighbours, with and without garbage in the high half.
fn interesting(rule: &SyscallRule, arg: u8) -> Vec<u64> {
    let mut values = BTreeSet::from([0, u64::MAX]);
    let conditions = rule.arms.iter().flat_map(|arm| &arm.when);
    for condition in conditions.filter(|condition| condition.arg() == arg) {
        let (mask, value) = match condition.op {
            Op::Eq(v) | Op::Ne(v) | Op::Le(v) => (u64::MAX, v),
            Op::MaskedEq { mask, value } => (mask, value),
        };
        for near in [
            value.wrapping_sub(1),
            value,
            value.wrapping_add(1),
            value | !mask,
            mask,
        ] {
            let garbage = near ^ 0xDEAD_BEEF_0000_0000;
            values.extend([near, near ^ (1 << 32), near & 0xFFFF_FFFF, garbage]);
        }
    }
    values.into_iter().collect()
}

/// Argument lists in which every argument that the rule looks at takes each of its interesting
/// values, in all combinations up to a bound, and one after the other beyond it.
fn argument_lists(rule: &SyscallRule) -> Vec<[u64; 6]> {
    let mut lists = vec![[0; 6]];
    for arg in 0..6 {
        let values = interesting(rule, arg);
        if values.len() == 2 {
            continue;
        }
        let known = if lists.len() * values.len() > 20_000 {
            lists.split_off(0)
        } else {
            Vec::new()
        };
        let vary = |list: &[u64; 6]| {
            let mut list = *list;
            values
                .iter()
                .map(|&value| {
                    list[usize::from(arg)] = value;
                    list
                })
                .collect::<Vec<_>>()
        };
        lists = if known.is_empty() {
            lists.iter().flat_map(vary).collect()
        } else {
            known
                .iter()
                .zip(values.iter().cycle())
                .flat_map(|(list, _)| vary(list))
                .take(40_000)
                .collect()
        };
    }
    lists
}

/// Checks the law for every interesting call; says which one breaks it.
fn check(filter: &Filter) -> Result<(), TestCaseError> {
    let program = filter.compile().expect("the program is short enough");
    let run = |data: &SeccompData| {
        let returned = interpret(program.as_slice(), data);
        let expected = filter.evaluate(data);
        prop_assert_eq!(returned, Some(expected.to_return()), "{:?}", data);
        Ok(())
    };
    for nr in numbers(filter) {
        let call = SeccompData {
            nr,
            arch: filter.arch.audit(),
            ..Default::default()
        };
        for arch in OTHER_ARCHES {
            run(&SeccompData { arch, ..call })?;
        }
        let varied = match filter.rules.get(nr) {
            Some(rule) if !rule.arms.is_empty() => argument_lists(rule),
            _ => vec![[0; 6], [u64::MAX; 6], [0xDEAD_BEEF_0000_0002; 6]],
        };
        for args in varied {
            run(&SeccompData {
                args,
                instruction_pointer: 0x1234_5678_9ABC,
                ..call
            })?;
        }
    }
    Ok(())
}

#[test]
fn base_filters_compile_to_what_they_mean() {
    for arch in Arch::ALL {
        for spec in every_spec() {
            let filter = filter_on(arch, &spec).expect("a valid spec");
            check(&filter).unwrap_or_else(|error| panic!("{arch:?} {spec:?}: {error}"));
        }
    }
}

#[test]
fn the_same_filter_gives_the_same_program() {
    for spec in every_spec() {
        let compile = || {
            let program = filter_for(&spec)
                .expect("a valid spec")
                .compile()
                .expect("short enough");
            let words = program.as_slice().iter().map(|i| (i.code, i.jt, i.jf, i.k));
            words.collect::<Vec<_>>()
        };
        assert_eq!(compile(), compile());
    }
}

/// How many instructions the longest way through a program has.
fn depth(program: &[libc::sock_filter]) -> usize {
    let mut depths = vec![0; program.len()];
    for (at, instruction) in program.iter().enumerate().rev() {
        let after = |skipped: u32| depths.get(at + 1 + skipped as usize).copied().unwrap_or(0);
        depths[at] = 1 + match instruction.code {
            RETURN => 0,
            LOAD | AND => after(0),
            JUMP => after(instruction.k),
            _ => after(instruction.jt.into()).max(after(instruction.jf.into())),
        };
    }
    depths.first().copied().unwrap_or(0)
}

#[test]
fn base_programs_stay_short_and_shallow() {
    for spec in every_spec() {
        let program = filter_for(&spec)
            .expect("a valid spec")
            .compile()
            .expect("short enough");
        let length = program.as_slice().len();
        // An observed run waits for the listener in any case.
        let most = if spec.observed { 288 } else { 256 };
        assert!(length <= most, "{spec:?} takes {length} instructions");
        let depth = depth(program.as_slice());
        assert!(depth <= 48, "{spec:?} is {depth} deep");
    }
}

#[test]
fn a_filter_of_one_answer_is_nothing_but_checks() {
    for arch in Arch::ALL {
        let filter = Filter {
            arch,
            default: Action::Allow,
            rules: Rules::default(),
        };
        check(&filter).unwrap();
        assert!(filter.compile().unwrap().as_slice().len() <= 8);
    }
}

#[test]
fn distinct_rules_for_every_number_reach_across_long_jumps() {
    let rule = |number: u32| {
        let condition = Condition::int((number % 6) as u8, Op::Le(u64::from(number)));
        let arm = Arm {
            when: vec![condition],
            then: Action::Notify,
        };
        args(vec![arm], Action::Errno(number as u16 + 1))
    };
    for arch in Arch::ALL {
        let rules = (0..450).map(|number| (number, rule(number))).collect();
        check(&Filter {
            arch,
            default: Action::Allow,
            rules,
        })
        .unwrap();
    }
}

#[test]
fn a_program_that_the_kernel_would_not_take_is_an_error() {
    let rule = |number: u64| {
        let arm = |value: u64| Arm {
            when: vec![Condition::long(0, Op::Le(number + value * 1_000_003))],
            then: Action::Errno(value as u16),
        };
        args((0..10).map(arm).collect(), Action::Allow)
    };
    let rules = (0..450)
        .map(|number| (number as u32, rule(number)))
        .collect();
    let filter = Filter {
        arch: Arch::X86_64,
        default: Action::Allow,
        rules,
    };
    let TooLong(length) = filter.compile().unwrap_err();
    assert!(length > MAX_INSTRUCTIONS);
}

fn args(arms: Vec<Arm>, otherwise: Action) -> SyscallRule {
    SyscallRule { arms, otherwise }
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Allow),
        2 => Just(Action::Errno(1)),
        2 => (0..4096_u16).prop_map(Action::Errno),
        1 => Just(Action::Notify),
        1 => Just(Action::KillProcess),
    ]
}

/// Values where comparisons go wrong: around zero, around the halves' border, around the top.
fn values() -> impl Strategy<Value = u64> {
    let edges = vec![
        0,
        1,
        2,
        0x7FFF_FFFF,
        0xFFFF_FFFF,
        1 << 32,
        0xFFFF_FFFF << 32,
        1 << 63,
        u64::MAX,
    ];
    prop_oneof![
        sample::select(edges),
        0..16_u64,
        any::<u64>(),
        any::<u32>().prop_map(u64::from)
    ]
}

fn conditions() -> impl Strategy<Value = Condition> {
    let op = prop_oneof![
        values().prop_map(Op::Eq),
        values().prop_map(Op::Ne),
        values().prop_map(Op::Le),
        (values(), values()).prop_map(|(mask, value)| Op::MaskedEq { mask, value }),
        (values(), values()).prop_map(|(mask, value)| Op::MaskedEq {
            mask,
            value: mask & value
        }),
    ];
    (0..6_u8, any::<bool>(), op).prop_map(|(arg, whole, op)| {
        if whole {
            Condition::long(arg, op)
        } else {
            Condition::int(arg, op)
        }
    })
}

fn rules() -> impl Strategy<Value = SyscallRule> {
    let arm = (collection::vec(conditions(), 0..3), actions())
        .prop_map(|(when, then)| Arm { when, then });
    let by_args =
        (collection::vec(arm, 0..3), actions()).prop_map(|(arms, otherwise)| args(arms, otherwise));
    prop_oneof![3 => actions().prop_map(SyscallRule::always), 1 => by_args]
}

/// Sparse, dense, and with a few rules used again and again.
fn filters() -> impl Strategy<Value = Filter> {
    let numbers = prop_oneof![20 => 0..470_u32, 1 => any::<u32>(), 1 => X32_BIT - 2..X32_BIT + 2];
    let own = collection::vec((numbers.clone(), rules()), 0..60).prop_map(Rules::from_iter);
    let shared = (
        collection::vec(rules(), 1..4),
        collection::vec((numbers, any::<sample::Index>()), 0..400),
    )
        .prop_map(|(rules, chosen)| {
            chosen
                .into_iter()
                .map(|(number, index)| (number, index.get(&rules).clone()))
                .collect()
        });
    let arch = sample::select(Arch::ALL.to_vec());
    (arch, actions(), prop_oneof![own, shared]).prop_map(|(arch, default, rules)| Filter {
        arch,
        default,
        rules,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_filter_compiles_to_what_it_means(filter in filters()) {
        check(&filter)?;
    }

    #[test]
    fn random_arguments_get_the_same_answer(
        rule in rules(),
        lists in collection::vec([values(), values(), values(), values(), values(), values()], 64),
    ) {
        let rules = [(1, rule)].into_iter().collect();
        let filter = Filter { arch: Arch::X86_64, default: Action::Allow, rules };
        let program = filter.compile().expect("the program is short enough");
        for args in lists {
            let data = SeccompData { nr: 1, arch: filter.arch.audit(), args, ..Default::default() };
            let returned = interpret(program.as_slice(), &data);
            prop_assert_eq!(returned, Some(filter.evaluate(&data).to_return()));
        }
    }
}
