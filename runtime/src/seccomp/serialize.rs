//! A filter as it is printed in a plan: names instead of numbers, conditions as one would write them.
//!
//! The form is for reading and hashing, and is never parsed. The same filter always has the same form.
//!
//! ```json
//! {"arch": "x86_64", "default": "errno ENOSYS", "rules": {
//!    "read": "allow",
//!    "clone": {"arms": [{"when": ["arg0:32 & 0x7e020000 == 0x0"], "then": "allow"}], "else": "errno EPERM"}}}
//! ```

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{Action, Condition, Filter, Op, SyscallRule, Width};

impl Action {
    /// As it is printed; a number without a name in the base sets is added to `errno`.
    fn text(&self) -> Cow<'static, str> {
        let text = match self {
            Self::Allow => "allow",
            Self::Notify => "notify",
            Self::KillProcess => "kill process",
            Self::Errno(number) => match i32::from(*number) {
                libc::EPERM => "errno EPERM",
                libc::EBUSY => "errno EBUSY",
                libc::EINVAL => "errno EINVAL",
                libc::ENOSYS => "errno ENOSYS",
                libc::EPROTONOSUPPORT => "errno EPROTONOSUPPORT",
                libc::EAFNOSUPPORT => "errno EAFNOSUPPORT",
                number => return format!("errno {number}").into(),
            },
        };
        text.into()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.width {
            Width::Bits32 => 32,
            Width::Bits64 => 64,
        };
        write!(f, "arg{}:{bits} ", self.arg())?;
        match self.op {
            Op::Eq(value) => write!(f, "== {value:#x}"),
            Op::Ne(value) => write!(f, "!= {value:#x}"),
            Op::Le(value) => write!(f, "<= {value:#x}"),
            Op::MaskedEq { mask, value } => write!(f, "& {mask:#x} == {value:#x}"),
        }
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SyscallRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.arms.is_empty() {
            return self.otherwise.serialize(serializer);
        }
        let mut rule = serializer.serialize_struct("SyscallRule", 2)?;
        rule.serialize_field("arms", &self.arms)?;
        rule.serialize_field("else", &self.otherwise)?;
        rule.end()
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut filter = serializer.serialize_struct("Filter", 3)?;
        filter.serialize_field("arch", &self.arch)?;
        filter.serialize_field("default", &self.default)?;
        filter.serialize_field("rules", &Named(self))?;
        filter.end()
    }
}

/// The rules by name, or by number where there is no name, in the order of their numbers.
struct Named<'f>(&'f Filter);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(filter) = self;
        let name = |number: u32| match filter.arch.name(number) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(number.to_string()),
        };
        let rules = filter.rules.iter();
        serializer.collect_map(rules.map(|(number, rule)| (name(number), rule)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{Arch, Base, filter_for, tests::spec};

    #[test]
    fn a_printed_filter_reads_by_name() {
        let filter = Filter {
            arch: Arch::X86_64,
            ..filter_for(&spec(Base::Default)).expect("valid")
        };
        let printed = serde_json::to_value(&filter).expect("a filter can be printed");
        assert_eq!(printed["arch"], "x86_64");
        assert_eq!(printed["default"], "errno ENOSYS");
        assert_eq!(printed["rules"]["read"], "allow");
        assert_eq!(printed["rules"]["mount"], "errno EPERM");
        let clone = &printed["rules"]["clone"];
        assert_eq!(clone["arms"][0]["when"][0], "arg0:32 & 0x7e020000 == 0x0");
        assert_eq!(clone["else"], "errno EPERM");
    }

    #[test]
    fn a_number_without_a_name_is_printed_as_it_is() {
        let rules = [(999, SyscallRule::always(Action::Errno(7)))];
        let filter = Filter {
            arch: Arch::Aarch64,
            default: Action::KillProcess,
            rules: rules.into_iter().collect(),
        };
        let printed = serde_json::to_string(&filter).expect("a filter can be printed");
        let expected = r#"{"arch":"aarch64","default":"kill process","rules":{"999":"errno 7"}}"#;
        assert_eq!(printed, expected);
    }
}
