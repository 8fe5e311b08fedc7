//! Sets of calls as cubes: in each, some bits of some arguments have given values.
//!
//! libseccomp takes one comparison an argument, always of all 64 bits, and does not say which of two rules that
//! both match counts. So the calls that an action is for are written as cubes that do not overlap: each compares the bits that the
//! kernel looks at, and no others.

use aegis_runtime::seccomp::{Action, Condition, Op, SyscallRule, Width};

/// Values of one argument: those that agree with `value` in the bits of `mask`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    pub mask: u64,
    pub value: u64,
}

/// Calls: the values of their six arguments.
pub(crate) type Cube = [Bits; 6];

impl Bits {
    fn new(mask: u64, value: u64) -> Option<Self> {
        (value & !mask == 0).then_some(Self { mask, value })
    }

    fn and(self, other: Self) -> Option<Self> {
        let common = self.mask & other.mask;
        (self.value & common == other.value & common).then_some(Self {
            mask: self.mask | other.mask,
            value: self.value | other.value,
        })
    }

    /// Every other value, by the highest bit that differs.
    fn complement(self) -> Vec<Self> {
        bits(self.mask).map(|bit| self.differs_at(bit)).collect()
    }

    /// The same in the bits above this one, and not in it.
    fn differs_at(self, bit: u64) -> Self {
        let mask = self.mask & !(bit - 1);
        Self {
            mask,
            value: (self.value & mask) ^ bit,
        }
    }
}

/// The single bits of a number, the highest first.
fn bits(number: u64) -> impl Iterator<Item = u64> {
    (0..64)
        .rev()
        .map(|at| 1 << at)
        .filter(move |bit| number & bit != 0)
}

/// The values that meet a condition, and those that do not.
fn split(condition: &Condition) -> (Vec<Bits>, Vec<Bits>) {
    let all = match condition.width {
        Width::Bits32 => u64::from(u32::MAX),
        Width::Bits64 => u64::MAX,
    };
    let one = |mask: u64, value: u64| match Bits::new(mask & all, value & all) {
        Some(bits) => (vec![bits], bits.complement()),
        None => (Vec::new(), vec![Bits::default()]),
    };
    match condition.op {
        Op::Eq(value) => one(all, value),
        Op::Ne(value) => {
            let (equal, other) = one(all, value);
            (other, equal)
        }
        Op::MaskedEq { mask, value } => one(mask, value),
        Op::Le(most) => {
            let most = Bits {
                mask: all,
                value: most & all,
            };
            let differs = |bit| most.differs_at(bit);
            let less = bits(most.value).map(differs).chain([most]);
            (
                less.collect(),
                bits(all & !most.value).map(differs).collect(),
            )
        }
    }
}

fn meet(cubes: &[Cube], argument: u8, values: &[Bits]) -> Vec<Cube> {
    let both = |cube: &Cube, value: &Bits| {
        let mut cube = *cube;
        let place = &mut cube[usize::from(argument)];
        *place = place.and(*value)?;
        Some(cube)
    };
    let pairs = cubes
        .iter()
        .flat_map(|cube| values.iter().map(move |value| (cube, value)));
    pairs
        .filter_map(|(cube, value)| both(cube, value))
        .collect()
}

/// Each action of a rule with the calls that it is for. No two cubes overlap.
pub(crate) fn of(rule: &SyscallRule) -> Vec<(Action, Vec<Cube>)> {
    let mut found: Vec<(Action, Vec<Cube>)> = Vec::new();
    let mut add = |action: Action, cubes: Vec<Cube>| match found
        .iter_mut()
        .find(|(known, _)| *known == action)
    {
        Some((_, known)) => known.extend(cubes),
        None => found.push((action, cubes)),
    };
    let mut rest = vec![Cube::default()];
    for arm in &rule.arms {
        // In the order of the arguments: libseccomp looks at them in that order, and does not go back.
        let mut conditions: Vec<_> = arm.when.iter().collect();
        conditions.sort_by_key(|condition| condition.arg());
        let (mut meets, mut left) = (rest, Vec::new());
        for condition in conditions {
            let (holds, fails) = split(condition);
            left.extend(meet(&meets, condition.arg(), &fails));
            meets = meet(&meets, condition.arg(), &holds);
        }
        add(arm.then, meets);
        rest = left;
    }
    add(rule.otherwise, rest);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn condition() -> impl Strategy<Value = Condition> {
        let number = prop_oneof![0_u64..8, any::<u64>()];
        let op = prop_oneof![
            number.clone().prop_map(Op::Eq),
            number.clone().prop_map(Op::Ne),
            number.clone().prop_map(Op::Le),
            (number.clone(), number).prop_map(|(mask, value)| Op::MaskedEq { mask, value }),
        ];
        (0_u8..3, op, any::<bool>()).prop_map(|(arg, op, long)| match long {
            true => Condition::long(arg, op),
            false => Condition::int(arg, op),
        })
    }

    fn rule() -> impl Strategy<Value = SyscallRule> {
        use aegis_runtime::seccomp::Arm;
        let action = prop_oneof![
            Just(Action::Allow),
            Just(Action::Errno(1)),
            Just(Action::Errno(0))
        ];
        let arm = (proptest::collection::vec(condition(), 0..2), action.clone())
            .prop_map(|(when, then)| Arm { when, then });
        (proptest::collection::vec(arm, 0..3), action)
            .prop_map(|(arms, otherwise)| SyscallRule { arms, otherwise })
    }

    fn holds(cube: &Cube, args: &[u64; 6]) -> bool {
        cube.iter()
            .zip(args)
            .all(|(bits, arg)| arg & bits.mask == bits.value)
    }

    proptest! {
        #[test]
        fn each_call_is_in_one_cube_and_that_is_its_action_s(
            rule in rule(),
            calls in proptest::collection::vec(proptest::array::uniform6(prop_oneof![0_u64..8, any::<u64>(), Just(1 << 32)]), 50)
        ) {
            let sets = of(&rule);
            for args in calls {
                let found: Vec<_> = sets.iter()
                    .flat_map(|(action, cubes)| cubes.iter().map(move |cube| (action, cube)))
                    .filter(|(_, cube)| holds(cube, &args))
                    .map(|(action, _)| *action)
                    .collect();
                prop_assert_eq!(&found, &[rule.evaluate(&args)]);
            }
        }
    }
}
