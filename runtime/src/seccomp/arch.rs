//! The architectures, and the mapping between system calls' names and numbers.

use super::{sets::entries, table::X86_64, table_aarch64::AARCH64};

/// No system call of Linux 6.18 has this number or a higher one, on any architecture here.
pub const MAX_NUMBER: u32 = 512;

/// An architecture whose system calls are known here. Printed as `uname -m` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86_64 with its 64-bit numbers; x32 shares its audit value and is recognized by bit 30.
    X86_64,
    /// 64-bit Arm, little endian.
    Aarch64,
}

impl Arch {
    /// Both, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Aarch64, Self::X86_64];

    /// The architecture that this program was built for.
    #[must_use]
    pub const fn native() -> Self {
        #[cfg(target_arch = "x86_64")]
        return Self::X86_64;
        #[cfg(target_arch = "aarch64")]
        return Self::Aarch64;
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        compile_error!("Aegis has no table of system calls for this architecture");
    }

    /// `AUDIT_ARCH_*`: what the kernel puts into `seccomp_data.arch` (`linux/audit.h`).
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::Aarch64 => 0xC000_00B7,
        }
    }

    /// Every system call, sorted by name.
    #[must_use]
    pub const fn syscalls(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::X86_64 => X86_64,
            Self::Aarch64 => AARCH64,
        }
    }

    /// The number of the system call with this name.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u32> {
        position(self.syscalls(), name).map(|index| self.syscalls()[index].1)
    }

    /// The name of the system call with this number.
    #[must_use]
    pub fn name(self, number: u32) -> Option<&'static str> {
        let entry = entries(self).get(number as usize)?.as_ref()?;
        Some(self.syscalls()[usize::from(entry.index)].0)
    }

    /// The known name most similar to this one, for a helpful error; `None` if none is similar.
    #[must_use]
    pub fn nearest(self, name: &str) -> Option<&'static str> {
        let calls = self.syscalls().iter().map(|&(known, _)| known);
        let scored = calls.map(|known| (strsim::damerau_levenshtein(name, known), known));
        let (distance, known) = scored.min()?;
        (distance <= 1 + name.len() / 3).then_some(known)
    }
}

/// The index of a name in a table. Also for constants: bisection, since linear search would be slow to compile.
pub(super) const fn position(calls: &[(&str, u32)], name: &str) -> Option<usize> {
    let (mut low, mut high) = (0, calls.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match order(calls[middle].0.as_bytes(), name.as_bytes()) {
            0 => return Some(middle),
            1 => high = middle,
            _ => low = middle + 1,
        }
    }
    None
}

/// Less is -1, equal 0, greater 1.
const fn order(left: &[u8], right: &[u8]) -> i8 {
    let mut at = 0;
    while at < left.len() && at < right.len() {
        if left[at] != right[at] {
            return if left[at] < right[at] { -1 } else { 1 };
        }
        at += 1;
    }
    (left.len() > right.len()) as i8 - (left.len() < right.len()) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_every_number_is_used_once() {
        for arch in Arch::ALL {
            let calls = arch.syscalls();
            assert!(
                calls.is_sorted_by(|a, b| a.0 < b.0),
                "{arch:?} is not sorted"
            );
            for (index, &(name, number)) in calls.iter().enumerate() {
                assert!(number < MAX_NUMBER);
                assert_eq!(arch.number(name), Some(number));
                assert_eq!(arch.name(number), Some(name), "{number} has two names");
                assert_eq!(position(calls, name), Some(index));
            }
        }
    }

    #[test]
    fn native_numbers_are_those_of_libc() {
        let known = [
            ("read", libc::SYS_read),
            ("openat2", libc::SYS_openat2),
            ("clone3", libc::SYS_clone3),
            ("fchmodat2", libc::SYS_fchmodat2),
            ("mseal", libc::SYS_mseal),
            ("memfd_secret", libc::SYS_memfd_secret),
            ("set_mempolicy_home_node", libc::SYS_set_mempolicy_home_node),
        ];
        for (name, number) in known {
            assert_eq!(
                Arch::native().number(name).map(i64::from),
                Some(number),
                "{name}"
            );
        }
    }

    #[test]
    fn unknown_names_and_numbers_are_nothing() {
        for arch in Arch::ALL {
            assert_eq!(arch.number("no_such_call"), None);
            assert_eq!(arch.name(470), None);
            assert_eq!(arch.name(u32::MAX), None);
        }
        assert_eq!(Arch::Aarch64.number("open"), None);
    }

    #[test]
    fn typos_find_their_name_and_nonsense_finds_none() {
        assert_eq!(Arch::X86_64.nearest("opneat"), Some("openat"));
        assert_eq!(
            Arch::X86_64.nearest("clock_get_time"),
            Some("clock_gettime")
        );
        assert_eq!(Arch::X86_64.nearest("frobnicate_the_thing"), None);
    }
}
