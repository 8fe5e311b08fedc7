//! Tables of names and globs, searched by a name.

use smallvec::SmallVec;

use super::super::pattern::{Part, glob_matches};
use super::{ListRange, list_range};

/// Holds the entries of all tables: numbers and text, one after another.
#[derive(Debug, Default)]
pub(super) struct Pool {
    text: String,
    entries: Vec<TableEntry>,
    lengths: Vec<Length>,
}

/// A name or a glob.
#[derive(Debug)]
struct TableEntry {
    /// The hash of the name, or of the glob's prefix or suffix.
    hash: u64,
    text: ListRange,
    value: u32,
}

/// Globs whose prefixes, or suffixes, have one length; sorted by the hash of that prefix or suffix.
#[derive(Debug)]
struct Length {
    length: u32,
    entries: ListRange,
}

/// One table. Names are sorted by hash.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: ListRange,
    exact_firsts: Bytes,
    /// Globs by suffix: those whose suffix is at least as long as their prefix.
    ends: ListRange,
    ends_lasts: Bytes,
    /// Globs by prefix.
    begins: ListRange,
    begins_firsts: Bytes,
    /// Globs that begin and end with `*`.
    other: ListRange,
}

/// An approximate set of bytes, with false positives: the first or last byte shows that most names are not in
/// most tables.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes(u64);

impl Bytes {
    fn add(&mut self, byte: Option<&u8>) {
        self.0 |= 1 << (byte.copied().unwrap_or_default() % 64);
    }

    fn may_have(&self, byte: Option<&u8>) -> bool {
        self.0 & (1 << (byte.copied().unwrap_or_default() % 64)) != 0
    }
}

/// The part of a glob by which it is looked up.
#[derive(Clone, Copy)]
enum Affix<'t> {
    Begin(&'t str),
    End(&'t str),
    Neither,
}

impl<'t> Affix<'t> {
    fn of(glob: &'t str) -> Self {
        let begin = glob.split('*').next().unwrap_or_default();
        let end = glob.rsplit('*').next().unwrap_or_default();
        match begin.len() > end.len() {
            true => Self::Begin(begin),
            false if end.is_empty() => Self::Neither,
            false => Self::End(end),
        }
    }

    /// Globs of one kind and length are found in one search.
    fn kind(self) -> (u8, usize) {
        match self {
            Self::Begin(text) => (0, text.len()),
            Self::End(text) => (1, text.len()),
            Self::Neither => (2, 0),
        }
    }

    fn text(self) -> &'t str {
        match self {
            Self::Begin(text) | Self::End(text) => text,
            Self::Neither => "",
        }
    }
}

impl Pool {
    /// A table of parts that are not `**`, each given once, with its value. Names come first.
    pub fn table<'t>(&mut self, parts: &[(Part<'t>, u32)]) -> Table {
        let names = parts.partition_point(|(part, _)| matches!(part, Part::Name(_)));
        let (names, globs) = parts.split_at(names);
        let mut table = Table::default();
        let from = self.entries.len();
        for (part, value) in names {
            let name = part.text();
            table.exact_firsts.add(name.as_bytes().first());
            self.add(hash(name.as_bytes()), name, *value);
        }
        table.exact = list_range(from, self.entries.len());
        self.sort(from);
        if globs.is_empty() {
            return table;
        }
        let globs = globs
            .iter()
            .map(|(part, value)| (Affix::of(part.text()), part.text(), *value));
        let mut globs: SmallVec<[(Affix<'t>, &'t str, u32); 8]> = globs.collect();
        globs.sort_by_key(|(affix, ..)| affix.kind());
        for same in globs.chunk_by(|(a, ..), (b, ..)| a.kind() == b.kind()) {
            let from = self.entries.len();
            let mut bytes = Bytes::default();
            for (affix, glob, value) in same {
                match affix {
                    Affix::Begin(text) => bytes.add(text.as_bytes().first()),
                    Affix::End(text) => bytes.add(text.as_bytes().last()),
                    Affix::Neither => {}
                }
                self.add(hash(affix.text().as_bytes()), glob, *value);
            }
            self.sort(from);
            let entries = list_range(from, self.entries.len());
            let (by, of) = match same.first() {
                Some((Affix::Begin(text), ..)) => {
                    table.begins_firsts.0 |= bytes.0;
                    (&mut table.begins, text)
                }
                Some((Affix::End(text), ..)) => {
                    table.ends_lasts.0 |= bytes.0;
                    (&mut table.ends, text)
                }
                _ => {
                    table.other = entries;
                    continue;
                }
            };
            let number = self.lengths.len();
            if by.is_empty() {
                *by = list_range(number, number);
            }
            by.to = list_range(0, number + 1).to;
            self.lengths.push(Length {
                length: list_range(0, of.len()).to,
                entries,
            });
        }
        table
    }

    fn add(&mut self, hash: u64, text: &str, value: u32) {
        let from = self.text.len();
        self.text.push_str(text);
        self.entries.push(TableEntry {
            hash,
            text: list_range(from, self.text.len()),
            value,
        });
    }

    fn sort(&mut self, from: usize) {
        if let Some(entries) = self.entries.get_mut(from..) {
            entries.sort_unstable_by_key(|entry| entry.hash);
        }
    }

    /// The value of the entry that is just this name, and no glob.
    pub fn name(&self, table: &Table, name: &[u8]) -> Option<u32> {
        let mut same = self.with_hash(table.exact, name);
        let entry = same.find(|entry| self.text(entry).as_bytes() == name)?;
        Some(entry.value)
    }

    /// The values of all entries that match the name.
    pub fn find<'n>(&self, table: &Table, name: &'n [u8], mut found: impl FnMut(u32)) {
        let (first, last) = (name.first(), name.last());
        if table.exact_firsts.may_have(first) {
            for entry in self.with_hash(table.exact, name) {
                if self.text(entry).as_bytes() == name {
                    found(entry.value);
                }
            }
        }
        let mut by = |lengths: ListRange, affix: &dyn Fn(usize) -> Option<&'n [u8]>| {
            for Length { length, entries } in lengths.of(&self.lengths) {
                let Some(affix) = affix(*length as usize) else {
                    continue;
                };
                for entry in self.with_hash(*entries, affix) {
                    if glob_matches(self.text(entry), name) {
                        found(entry.value);
                    }
                }
            }
        };
        if table.ends_lasts.may_have(last) {
            by(table.ends, &|length| {
                name.len().checked_sub(length).and_then(|at| name.get(at..))
            });
        }
        if table.begins_firsts.may_have(first) {
            by(table.begins, &|length| name.get(..length));
        }
        for entry in table.other.of(&self.entries) {
            if glob_matches(self.text(entry), name) {
                found(entry.value);
            }
        }
    }

    /// The entries with the hash of a name; few are of another name.
    fn with_hash(&self, entries: ListRange, name: &[u8]) -> impl Iterator<Item = &TableEntry> {
        let hash = hash(name);
        let entries = entries.of(&self.entries);
        let from = entries.partition_point(|entry| entry.hash < hash);
        let same = entries.iter().skip(from);
        same.take_while(move |entry| entry.hash == hash)
    }

    fn text(&self, entry: &TableEntry) -> &str {
        let ListRange { from, to } = entry.text;
        self.text
            .get(from as usize..to as usize)
            .unwrap_or_default()
    }
}

/// A hash: the same on every machine; entries found by it are then compared. Eight bytes at a time, as in
/// FxHash.
fn hash(name: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(ODD);
        product ^ (product >> 32)
    };
    let (words, rest) = name.as_chunks::<8>();
    let hash = (words.iter()).fold(name.len() as u64, |hash, word| {
        mix(hash, u64::from_le_bytes(*word))
    });
    let rest = rest
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte));
    mix(hash, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pool: &Pool, table: &Table, name: &str) -> Vec<u32> {
        let mut found = Vec::new();
        pool.find(table, name.as_bytes(), |value| found.push(value));
        found.sort_unstable();
        found
    }

    #[test]
    fn names_are_found_and_others_not() {
        let names = [
            "",
            "a",
            "aa",
            "abcdefgh",
            "abcdefghabcdefgh",
            "abcdefghi",
            "abcdefgi",
            "b",
        ];
        let parts: Vec<_> = (0..)
            .zip(names)
            .map(|(n, name)| (Part::Name(name), n))
            .collect();
        let mut pool = Pool::default();
        // Neither at the beginning of the pool nor at its end.
        pool.table(&[(Part::Name("c"), 99)]);
        let table = pool.table(&parts);
        pool.table(&[(Part::Name("ab"), 99)]);
        for (value, name) in (0..).zip(names) {
            assert_eq!(found(&pool, &table, name), [value]);
        }
        for name in ["c", "ab", "a\0", "abcdefg", "abcdefgh\0", "abcdefghj"] {
            assert_eq!(found(&pool, &table, name), [0; 0], "{name:?}");
        }
    }

    #[test]
    fn names_of_one_number_are_told_apart() {
        let mut pool = Pool::default();
        let table = pool.table(&[
            (Part::Name("x"), 0),
            (Part::Name("y"), 1),
            (Part::Name("z"), 2),
        ]);
        for entry in &mut pool.entries {
            entry.hash = hash(b"y");
        }
        assert_eq!(found(&pool, &table, "y"), [1]);
    }

    #[test]
    fn globs_are_found_by_either_end() {
        let globs = [
            "*",
            "*.pem",
            "*a*",
            ".env*",
            ".env*.bak",
            "LC_*",
            "a*a",
            "x*.key",
        ];
        let parts: Vec<_> = (0..)
            .zip(globs)
            .map(|(n, glob)| (Part::Glob(glob), n))
            .collect();
        let mut pool = Pool::default();
        let table = pool.table(&parts);
        for (name, values) in [
            ("", &[0][..]),
            ("b.pem", &[0, 1]),
            (".env", &[0, 3]),
            (".env.bak", &[0, 2, 3, 4]),
            ("LC_ALL", &[0, 5]),
            ("a", &[0, 2]),
            ("aa", &[0, 2, 6]),
            ("x.key", &[0, 7]),
            (".pem", &[0, 1]),
        ] {
            assert_eq!(found(&pool, &table, name), values, "{name}");
        }
    }
}
