//! References to built-in texts by name, or to files: how to tell them apart, and the messages for mistakes.

use crate::error::{nearest, quote};
use crate::source::ReadError;

/// A kind of built-in text.
pub struct Named {
    /// The kind of file: "profile".
    pub kind: &'static str,
    /// What a built-in one is called: "built-in profile".
    pub one: &'static str,
    /// What a path may name: "a file", "a file or directory".
    pub file: &'static str,
    /// Their names.
    pub names: fn() -> Vec<&'static str>,
}

impl Named {
    /// Whether a reference is a file, and not a name.
    pub fn is_file(reference: &str) -> bool {
        reference.contains('/') || Self::stem(reference).is_some()
    }

    fn stem(name: &str) -> Option<&str> {
        name.strip_suffix(".yaml").or(name.strip_suffix(".yml"))
    }

    /// Message and fix for an unknown name. `is_there`: a file of that name exists.
    pub fn unknown(&self, reference: &str, is_there: bool) -> (String, String) {
        let Self { one, file, .. } = self;
        let (names, shown) = ((self.names)(), quote(reference));
        let known = names.join(", ");
        let help = match nearest(reference, names) {
            _ if is_there && !reference.is_empty() => {
                format!("to use {file} of that name, write `./{shown}`")
            }
            Some(near) => format!("did you mean `{near}`? The {one}s are {known}"),
            None => format!("the {one}s are {known}; {file} has a `/` or ends in .yaml"),
        };
        (format!("there is no {one} `{shown}`"), help)
    }

    /// Message and fix for a file that cannot be read.
    pub fn unreadable(&self, path: &str, error: &ReadError) -> (String, String) {
        let Self { kind, one, .. } = self;
        let shown = quote(path);
        match error {
            ReadError::NotFound => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let stem = Self::stem(name).unwrap_or(name);
                let help = match (self.names)().contains(&stem) {
                    true => format!("there is a {one} of that name: write `{stem}`"),
                    false => format!("check the path; {one}s are named without a `/`"),
                };
                (format!("there is no file `{shown}`"), help)
            }
            ReadError::NotAFile(what) => (
                format!("`{shown}` is {what}, and a {kind} is {}", self.file),
                match *what {
                    "a directory" => "name the file in it, such as `skill.yaml`".to_owned(),
                    _ => format!("give it on standard input, as the {kind} `-`"),
                },
            ),
            ReadError::Io(_) => (
                format!("cannot read `{shown}`: {error}"),
                "check the file and its permissions".to_owned(),
            ),
        }
    }
}
