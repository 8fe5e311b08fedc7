//! What is looked up by name, among many.

/// A map that is asked often and never changed: sorted by a number made of the name, then by name.
#[derive(Debug, Default)]
pub(super) struct Table<V> {
    numbers: Vec<u64>,
    entries: Vec<(Box<str>, V)>,
}

impl<V> Table<V> {
    /// Of values by names of which none is given twice, in the order of the names.
    pub fn new(mut entries: Vec<(Box<str>, V)>) -> Self {
        if entries.len() > 1 {
            entries.sort_by_cached_key(|(name, _)| number(name.as_bytes()));
        }
        let numbers = entries.iter().map(|(name, _)| number(name.as_bytes()));
        Self {
            numbers: numbers.collect(),
            entries,
        }
    }

    pub fn get(&self, name: &[u8]) -> Option<&V> {
        if self.numbers.is_empty() {
            return None;
        }
        let number = number(name);
        let from = self.numbers.partition_point(|own| *own < number);
        let same = self.numbers.iter().zip(&self.entries).skip(from);
        same.take_while(|(own, _)| **own == number)
            .find(|(_, (own, _))| own.as_bytes() == name)
            .map(|(_, (_, value))| value)
    }
}

/// The same for the same name, always and everywhere, and seldom for another; what is found by it is
/// compared. Eight bytes at a time, as in FxHash.
fn number(name: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |number: u64, word: u64| {
        let product = (number ^ word).wrapping_mul(ODD);
        product ^ (product >> 32)
    };
    let (words, rest) = name.as_chunks::<8>();
    let number = (words.iter()).fold(name.len() as u64, |number, word| {
        mix(number, u64::from_le_bytes(*word))
    });
    let rest = rest
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte));
    mix(number, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_others_not() {
        let names = ["", "a", "aa", "b", "abcdefgh", "abcdefghi", "abcdefgi"];
        let names = names.iter().chain(&["abcdefghabcdefgh"]);
        let table = Table::new(names.clone().map(|name| ((*name).into(), *name)).collect());
        for name in names {
            assert_eq!(table.get(name.as_bytes()), Some(name));
        }
        for name in ["c", "ab", "a\0", "abcdefg", "abcdefgh\0", "abcdefghj"] {
            assert_eq!(table.get(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn names_of_one_number_are_told_apart() {
        let numbers = vec![7, 7, 7];
        let entries = ["x", "y", "z"].map(|name| (Box::from(name), name)).into();
        let mut table = Table { numbers, entries };
        let seven = number(b"y");
        table.numbers.fill(seven);
        assert_eq!(table.get(b"y"), Some(&"y"));
    }
}
