//! `$SKILL`, `$WORK`, `$HOME` and `$TMP`: what they stand for in paths, in `run` and in `environment.set`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aegis_profile::{PathSpec, Variable};

/// The private directory for temporary files.
pub const TMP: &str = "/tmp";

/// Expands a declared path to a host path. `None`: it is in the sandbox's private `$TMP`, or needs
/// a `$SKILL` that does not exist.
pub fn expand(spec: &PathSpec, skill: Option<&Path>, work: &Path, home: &Path) -> Option<PathBuf> {
    let base = match spec.base {
        None => Path::new("/"),
        Some(Variable::Skill) => skill?,
        Some(Variable::Work) => work,
        Some(Variable::Home) => home,
        Some(Variable::Tmp) => return None,
    };
    Some(if spec.rest.is_empty() {
        base.to_path_buf()
    } else {
        base.join(&spec.rest)
    })
}

/// What the variables stand for.
#[derive(Clone, Copy, Debug)]
pub struct Directories<'a> {
    /// `$SKILL`, if there is one.
    pub skill: Option<&'a Path>,
    /// `$WORK`.
    pub work: &'a Path,
    /// `$HOME`.
    pub home: &'a Path,
}

impl Directories<'_> {
    fn named(&self, name: &str) -> Option<&Path> {
        match name {
            "SKILL" => self.skill,
            "WORK" => Some(self.work),
            "HOME" => Some(self.home),
            "TMP" => Some(Path::new(TMP)),
            _ => None,
        }
    }

    /// Expands the variables anywhere in a value of `environment.set`.
    pub fn in_value(&self, value: &str) -> OsString {
        let mut out = OsString::new();
        let mut rest = value;
        while let Some(at) = rest.find('$') {
            out.push(&rest[..at]);
            let tail = &rest[at + 1..];
            let length = tail
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(tail.len());
            match self.named(&tail[..length]) {
                Some(path) => out.push(path),
                None => {
                    out.push("$");
                    out.push(&tail[..length]);
                }
            }
            rest = &tail[length..];
        }
        out.push(rest);
        out
    }

    /// Expands a variable that a word of `run` begins with: the whole word, or all before a slash. Others are the command's,
    /// as in `sh -c 'echo $HOME'`.
    pub fn in_word(&self, word: &str) -> OsString {
        let (first, rest) = word
            .split_once('/')
            .map_or((word, None), |(first, rest)| (first, Some(rest)));
        let directory = first.strip_prefix('$').and_then(|name| self.named(name));
        match (directory, rest) {
            (None, _) => word.into(),
            (Some(directory), None) => directory.into(),
            (Some(directory), Some(rest)) => directory.join(rest.trim_start_matches('/')).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_begins_with_a_variable_begins_with_its_directory() {
        let directories = Directories {
            skill: None,
            work: Path::new("/w"),
            home: Path::new("/home/ada"),
        };
        for (word, expanded) in [
            ("$WORK", "/w"),
            ("$WORK/a b", "/w/a b"),
            ("$HOME//x", "/home/ada/x"),
            ("$TMP/x", "/tmp/x"),
            ("$SKILL/x", "$SKILL/x"),
            ("$FOO/x", "$FOO/x"),
            ("$WORKS", "$WORKS"),
            ("echo $WORK", "echo $WORK"),
        ] {
            assert_eq!(directories.in_word(word), expanded, "{word}");
        }
        assert_eq!(
            directories.in_value("$WORK/bin:$X:/usr/bin"),
            "/w/bin:$X:/usr/bin"
        );
    }
}
