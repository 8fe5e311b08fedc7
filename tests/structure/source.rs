//! Just enough of Rust's syntax to find modules, test code and paths that begin with `crate` or `super`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A token of source text. Comments, lifetimes and white space are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name, a keyword or a number.
    Word(String),
    /// The content of a string literal, escapes as written.
    Literal(String),
    /// `::`.
    Colons,
    /// Any other character.
    Mark(char),
}

use Token::{Colons, Literal, Mark, Word};

impl Token {
    /// Whether it is this word.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Word(found) if found == word)
    }
}

/// Splits a source text.
pub fn tokens(text: &str) -> Vec<Token> {
    let text: Vec<char> = text.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < text.len() {
        let c = text[i];
        if c == '/' && at(i + 1) == '/' {
            i = find(&text, i, &['\n']);
        } else if c == '/' && at(i + 1) == '*' {
            i = after_comment(&text, i);
        } else if c.is_alphanumeric() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            let word: String = text[start..i].iter().collect();
            let hashes = text[i..].iter().take_while(|c| **c == '#').count();
            let raw = matches!(&*word, "r" | "br" | "cr");
            if raw && at(i + hashes) == '"' {
                let mut end: Vec<char> = vec!['"'];
                end.extend(std::iter::repeat_n('#', hashes));
                let start = i + hashes + 1;
                let stop = find(&text, start, &end);
                tokens.push(Literal(text[start..stop].iter().collect()));
                i = stop + end.len();
            } else if raw && hashes == 1 {
                // The prefix of a raw name or a string is left out.
                i += 1;
            } else if !(matches!(&*word, "b" | "c") && at(i) == '"') {
                tokens.push(Word(word));
            }
        } else if c == '"' {
            let start = i + 1;
            i = start;
            while i < text.len() && text[i] != '"' {
                i += if text[i] == '\\' { 2 } else { 1 };
            }
            tokens.push(Literal(text[start..i.min(text.len())].iter().collect()));
            i += 1;
        } else if c == '\'' {
            // A character, or a lifetime.
            if at(i + 1) == '\\' {
                i = find(&text, i + 3, &['\'']) + 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
            }
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push(Colons);
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(Mark(c));
            }
            i += 1;
        }
    }
    tokens
}

/// The index of the next of these characters, or the end.
fn find(text: &[char], from: usize, wanted: &[char]) -> usize {
    (from..text.len())
        .find(|at| text[*at..].starts_with(wanted))
        .unwrap_or(text.len())
}

fn after_comment(text: &[char], start: usize) -> usize {
    let (mut i, mut depth) = (start, 0);
    loop {
        if i >= text.len() {
            return i;
        } else if text[i..].starts_with(&['/', '*']) {
            (i, depth) = (i + 2, depth + 1);
        } else if text[i..].starts_with(&['*', '/']) {
            (i, depth) = (i + 2, depth - 1);
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
}

/// The tokens without items that are compiled only for tests.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let attribute = tokens[i] == Mark('#') && tokens.get(i + 1) == Some(&Mark('['));
        if !attribute {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        let end = after_group(tokens, i + 1);
        if is_for_tests(&tokens[i..end]) {
            i = after_item(tokens, end);
        } else {
            kept.extend_from_slice(&tokens[i..end]);
            i = end;
        }
    }
    kept
}

/// Whether an attribute is a `cfg` for tests.
fn is_for_tests(attribute: &[Token]) -> bool {
    let has = |word| attribute.iter().any(|token| token.is(word));
    has("cfg") && has("test") && !has("not")
}

/// The index after the group that opens here.
fn after_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Mark('(' | '[' | '{') => depth += 1,
            Mark(')' | ']' | '}') => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The index after the item that begins here.
fn after_item(tokens: &[Token], mut i: usize) -> usize {
    while tokens.get(i) == Some(&Mark('#')) {
        i = after_group(tokens, i + 1);
    }
    const ITEMS: [&str; 13] = [
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "static",
        "struct",
        "trait",
        "type",
        "unsafe",
        "use",
    ];
    let first = tokens[i..].iter().find_map(|token| match token {
        Word(word) if !matches!(&**word, "pub" | "crate" | "super" | "in") => Some(&**word),
        _ => None,
    });
    let item = first.is_some_and(|word| ITEMS.contains(&word));
    while i < tokens.len() {
        match &tokens[i] {
            Mark(';') => return i + 1,
            // A field, a variant or an arm.
            Mark(',') if !item => return i + 1,
            Mark(')' | ']' | '}') => return i,
            Mark('{') if first != Some("use") => return after_group(tokens, i),
            Mark('(' | '[' | '{') => i = after_group(tokens, i),
            _ => i += 1,
        }
    }
    i
}

/// How the top-level modules of a crate use each other.
#[derive(Debug, Default)]
pub struct Crate {
    /// For each module, the modules that it uses, each with a place where it does. The root itself is `lib`.
    pub uses: BTreeMap<String, BTreeMap<String, PathBuf>>,
    /// For each name that the root re-exports, its module.
    taken: BTreeMap<String, String>,
    /// Its files, without tests.
    files: BTreeMap<PathBuf, Vec<Token>>,
}

/// The files of a crate with their tokens, without tests, from the folder of its `lib.rs`.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<Token>> {
    Crate::read(folder).files
}

impl Crate {
    /// Reads a crate from the folder of its `lib.rs`.
    pub fn read(folder: &Path) -> Self {
        let mut found = Self::default();
        let root = without_tests(&tokens(&text(&folder.join("lib.rs"))));
        found.root(&root, folder);
        found.walk(&root, &mut Vec::new(), folder, &folder.join("lib.rs"));
        found.files.insert(folder.join("lib.rs"), root);
        found
    }

    /// Collects the root's names, so that `crate::Name` can be assigned to a module.
    fn root(&mut self, tokens: &[Token], folder: &Path) {
        for (i, token) in tokens.iter().enumerate() {
            if token.is("mod")
                && let Some(Word(name)) = tokens.get(i + 1)
            {
                self.uses.entry(name.clone()).or_default();
            }
        }
        for (i, token) in tokens.iter().enumerate() {
            match (token, tokens.get(i + 1)) {
                (Word(word), _) if word == "use" => {
                    let end = i + tokens[i..].iter().take_while(|t| **t != Mark(';')).count();
                    self.take(&tokens[i + 1..end], folder);
                }
                // Names that the root defines itself.
                (Word(word), Some(Word(name))) if defines(word) => {
                    self.taken.entry(name.clone()).or_insert("lib".into());
                }
                _ => {}
            }
        }
    }

    /// A `use` in the root, of something in one of its modules.
    fn take(&mut self, tree: &[Token], folder: &Path) {
        let Some(Word(module)) = tree
            .iter()
            .find(|token| !token.is("crate") && **token != Colons)
        else {
            return;
        };
        if !self.uses.contains_key(module) {
            return;
        }
        if tree.last() == Some(&Mark('*')) {
            let file = child(folder, module);
            let tokens = without_tests(&tokens(&text(&file)));
            for pair in tokens.windows(2) {
                if let [Word(word), Word(name)] = pair
                    && defines(word)
                {
                    self.taken.insert(name.clone(), module.clone());
                }
            }
        }
        for token in tree {
            if let Word(name) = token {
                self.taken.insert(name.clone(), module.clone());
            }
        }
    }

    /// Follows the modules of a file, and collects the paths in them.
    fn walk(&mut self, tokens: &[Token], module: &mut Vec<String>, folder: &Path, file: &Path) {
        let mut path = None;
        let mut i = 0;
        while i < tokens.len() {
            match &tokens[i] {
                Mark('#') if tokens.get(i + 1) == Some(&Mark('[')) => {
                    let end = after_group(tokens, i + 1);
                    if let [_, _, word, Mark('='), Literal(value), ..] = &tokens[i..end]
                        && word.is("path")
                    {
                        path = Some(value.clone());
                    }
                    i = end;
                    continue;
                }
                Word(word) if word == "mod" => {
                    if let (Some(Word(name)), Some(next)) = (tokens.get(i + 1), tokens.get(i + 2)) {
                        module.push(name.clone());
                        if *next == Mark(';') {
                            let file = match path.take() {
                                Some(path) => file.with_file_name(path),
                                None => child(folder, name),
                            };
                            let inner = without_tests(&super::source::tokens(&text(&file)));
                            self.walk(&inner, module, &folder.join(name), &file);
                            self.files.insert(file, inner);
                            i += 3;
                        } else {
                            let end = after_group(tokens, i + 2);
                            self.walk(&tokens[i + 3..end - 1], module, &folder.join(name), file);
                            i = end;
                        }
                        module.pop();
                        continue;
                    }
                }
                // A `use` in the root is a re-export, not a use.
                Word(word) if word == "use" && module.is_empty() => {
                    i += tokens[i..].iter().take_while(|t| **t != Mark(';')).count();
                }
                Word(word)
                    if module.is_empty()
                        && self.uses.contains_key(word)
                        && tokens.get(i + 1) == Some(&Colons)
                        && !tokens[..i].ends_with(&[Colons]) =>
                {
                    self.note("lib", word, file);
                }
                Word(word) if word == "crate" || word == "super" => {
                    let mut up = usize::from(word == "super");
                    let mut next = i + 1;
                    while word == "super"
                        && tokens.get(next) == Some(&Colons)
                        && tokens.get(next + 1).is_some_and(|token| token.is("super"))
                    {
                        (up, next) = (up + 1, next + 2);
                    }
                    let at_root = word == "crate" || up == module.len();
                    if at_root && tokens.get(next) == Some(&Colons) {
                        self.names(&tokens[next + 1..], module, file);
                    }
                    i = next;
                    continue;
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// The first names of a path, or of a group of paths, from the root.
    fn names(&mut self, tokens: &[Token], module: &[String], file: &Path) {
        let from = module.first().map_or("lib", |name| &**name).to_owned();
        match tokens.first() {
            Some(Word(name)) => self.note(&from, name, file),
            Some(Mark('{')) => {
                let end = after_group(tokens, 0);
                let mut first = true;
                let mut i = 1;
                while i < end - 1 {
                    match &tokens[i] {
                        Word(name) if first => {
                            self.note(&from, name, file);
                            first = false;
                        }
                        Mark(',') => first = true,
                        Mark('{') => {
                            i = after_group(tokens, i);
                            continue;
                        }
                        _ => {}
                    }
                    i += 1;
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, from: &str, name: &str, file: &Path) {
        let to: &str = if self.uses.contains_key(name) {
            name
        } else {
            self.taken.get(name).unwrap_or_else(|| {
                panic!("{}: what module has crate::{name}?", file.display());
            })
        };
        if from != to {
            let (from, to) = (from.to_owned(), to.to_owned());
            self.uses.entry(to.clone()).or_default();
            self.uses
                .entry(from)
                .or_default()
                .entry(to)
                .or_insert(file.into());
        }
    }
}

/// Whether a keyword is followed by the name of a new item.
fn defines(word: &str) -> bool {
    matches!(
        word,
        "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const" | "static" | "macro_rules"
    )
}

/// The file of a module below a folder.
fn child(folder: &Path, name: &str) -> PathBuf {
    [
        folder.join(format!("{name}.rs")),
        folder.join(name).join("mod.rs"),
    ]
    .into_iter()
    .find(|file| file.exists())
    .unwrap_or_else(|| panic!("no file of the module {name} in {}", folder.display()))
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn test_code_and_literals_are_not_code() {
    let text = r##"
        // crate::a
        #[cfg(test)]
        mod tests { fn f() -> &'static str { "}" } }
        #[cfg(test)]
        use crate::{b, c};
        fn g<'a>(x: &'a str) -> char { let _ = r#"crate::d"#; /* /* */ crate::e */ '"' }
        #[cfg(not(test))]
        use crate::f;
    "##;
    let left = without_tests(&tokens(text));
    let words: Vec<&str> = left
        .iter()
        .filter_map(|token| match token {
            Word(word) => Some(&**word),
            _ => None,
        })
        .collect();
    assert_eq!(
        words,
        [
            "fn", "g", "x", "str", "char", "let", "_", "cfg", "not", "test", "use", "crate", "f"
        ]
    );
}
