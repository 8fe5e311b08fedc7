//! The profiles that are part of Aegis, by name: text compiled in, from `profiles/builtin/`.

/// Name and text, in the order they are listed to people.
const ALL: [(&str, &str); 6] = [
    ("base", include_str!("../builtin/base.yaml")),
    ("shell", include_str!("../builtin/shell.yaml")),
    ("python", include_str!("../builtin/python.yaml")),
    ("node", include_str!("../builtin/node.yaml")),
    ("git", include_str!("../builtin/git.yaml")),
    ("build", include_str!("../builtin/build.yaml")),
];

/// The names of the built-in profiles.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The text of a built-in profile.
pub fn text(name: &str) -> Option<&'static str> {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}
