//! Texts of the outside in each format. What a format cannot carry is an error: nothing is changed or left out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::error::Error;

/// A text that is not to be written as it is.
#[derive(Clone, Copy)]
pub(crate) struct Text<'t> {
    /// What it is: for the error.
    pub what: &'static str,
    pub text: &'t OsStr,
}

impl<'t> Text<'t> {
    pub fn new(what: &'static str, text: &'t (impl AsRef<OsStr> + ?Sized)) -> Self {
        let text = text.as_ref();
        Self { what, text }
    }

    pub fn refuse(self, format: &'static str, takes: &'static str) -> Error {
        Error::Text {
            what: self.what,
            text: self.text.to_owned(),
            format,
            takes,
        }
    }

    /// UTF-8 without control characters.
    fn plain(self, format: &'static str) -> Result<&'t str, Error> {
        let text = self
            .text
            .to_str()
            .filter(|text| !text.chars().any(char::is_control));
        text.ok_or_else(|| self.refuse(format, "UTF-8 without control characters"))
    }

    /// One word of `sh`, whatever it holds.
    pub fn shell(self) -> Result<Vec<u8>, Error> {
        let bytes = self.text.as_bytes();
        // No argument can have one.
        if bytes.contains(&0) {
            return Err(self.refuse("a shell", "everything but NUL"));
        }
        let mut out = vec![b'\''];
        for byte in bytes {
            match byte {
                b'\'' => out.extend(b"'\\''"),
                byte => out.push(*byte),
            }
        }
        out.push(b'\'');
        Ok(out)
    }

    /// A path of AppArmor, in quotes: nothing in it is a pattern, a variable or the end of the quotes.
    pub fn apparmor(self) -> Result<String, Error> {
        let text = self.plain("AppArmor")?;
        let mut out = String::new();
        for c in text.chars() {
            if "\\\"*?[]{}^,@$!~|()#".contains(c) {
                out.push('\\');
            }
            out.push(c);
        }
        Ok(out)
    }

    /// A path of a unit of systemd, in quotes. Without quotes and backslashes of its own: systemd 257 passes paths on to its executor
    /// in a way that loses them, and so would show another file, or hide none.
    pub fn unit_path(self) -> Result<String, Error> {
        let takes = "paths in UTF-8 without control characters, quotes and backslashes";
        let text = self.plain("systemd")?;
        if text.contains(['"', '\'', '\\']) {
            return Err(self.refuse("systemd", takes));
        }
        // Specifiers are resolved in quotes too; `:` divides pairs.
        Ok(format!(
            "\"{}\"",
            text.replace('%', "%%").replace(':', "\\:")
        ))
    }

    /// A word of a command line or an assignment of a unit, in quotes.
    pub fn unit_word(self) -> Result<String, Error> {
        let takes = "UTF-8 without control characters but tabs and line feeds";
        let text = self
            .text
            .to_str()
            .ok_or_else(|| self.refuse("systemd", takes))?;
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '%' => out.push_str("%%"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => return Err(self.refuse("systemd", takes)),
                '"' | '\\' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out.push('"');
        Ok(out)
    }
}

/// A comment's line, in which nothing ends the line or steers a terminal.
pub(crate) fn comment(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() || "\u{2028}\u{2029}".contains(c) {
            true => '?',
            false => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn output(command: &mut Command) -> Vec<u8> {
        let output = command.output();
        let output = output
            .unwrap_or_else(|error| panic!("{command:?}: {error}: scripts/setup installs it"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        output.stdout
    }

    /// The only path for which a rule of AppArmor with this text is, as its parser compiles it.
    fn matched(rule: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("profile");
        std::fs::write(&file, format!("profile p {{\n  \"{rule}\" r,\n}}\n")).expect("write");
        let mut parser = Command::new("apparmor_parser");
        parser
            .args(["-Q", "-K", "-D", "dfa-states"])
            .arg(&file)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        parser.stderr(std::process::Stdio::piped());
        let states = parser
            .output()
            .expect("apparmor_parser, which scripts/setup installs");
        let states = String::from_utf8_lossy(&states.stderr).into_owned()
            + &String::from_utf8_lossy(&states.stdout);
        let mut path = Vec::new();
        for state in states.split("} perms: none\n").skip(1) {
            // Of each state the one way on.
            let ways: Vec<&str> = state
                .lines()
                .filter(|line| line.contains(" -> {"))
                .collect();
            let [way] = *ways else {
                assert!(ways.is_empty(), "{rule}: {states}");
                continue;
            };
            let (_, byte) = way.split_once("0x").expect("a byte");
            let byte = byte.split(' ').next().expect("a byte");
            path.push(u8::from_str_radix(byte, 16).expect("a byte"));
        }
        path
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                any::<char>(),
                prop::sample::select(
                    "\\\"'*?[]{}^,@$%!~|()#:;= -.+<>&`\n\t"
                        .chars()
                        .collect::<Vec<_>>()
                ),
            ],
            1..12,
        )
        .prop_map(|name| name.into_iter().filter(|c| *c != '\0').collect())
    }

    /// What `systemd.syntax(7)` says that a quoted word is.
    fn read_unit_word(quoted: &str) -> String {
        let inner = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .expect("quotes");
        let (mut out, mut chars) = (String::new(), inner.chars());
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.push(match chars.next().expect("an escape") {
                    'n' => '\n',
                    't' => '\t',
                    c => c,
                }),
                '%' => assert_eq!(chars.next(), Some('%')),
                '"' => panic!("the end before the end: {quoted}"),
                c => out.push(c),
            }
            if c == '%' {
                out.push('%');
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_shell_reads_each_word_as_it_was(bytes in proptest::collection::vec(1_u8.., 0..40)) {
            let word = OsStr::from_bytes(&bytes);
            let mut script = b"printf %s ".to_vec();
            script.extend(Text::new("a word", word).shell().expect("no NUL"));
            let said = output(Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)));
            prop_assert_eq!(said, bytes);
        }

        #[test]
        fn apparmor_reads_each_path_as_it_was(name in name()) {
            let path = format!("/x/{}", name.replace('/', "_"));
            if let Ok(written) = Text::new("a path", &path).apparmor() {
                prop_assert_eq!(matched(&written), path.into_bytes());
            }
        }

        #[test]
        fn a_word_of_a_unit_is_one_line_and_reads_as_it_was(name in name()) {
            if let Ok(written) = Text::new("a word", &name).unit_word() {
                prop_assert!(!written.contains('\n'));
                prop_assert_eq!(read_unit_word(&written), name);
            }
        }

        #[test]
        fn a_path_of_a_unit_ends_where_it_ends(name in name()) {
            if let Ok(written) = Text::new("a path", &name).unit_path() {
                let inner = &written[1..written.len() - 1];
                prop_assert!(!inner.contains(['"', '\'']) && !inner.contains(char::is_control));
                prop_assert_eq!(inner.replace("%%", "%").replace("\\:", ":"), name);
            }
        }

        #[test]
        fn a_comment_is_one_line(name in name()) {
            prop_assert!(!comment(&name).contains(char::is_control));
        }
    }

    #[test]
    fn what_a_format_cannot_carry_is_refused() {
        let refused = |text: &[u8]| {
            let text = Text::new("a path", OsStr::from_bytes(text));
            [
                text.apparmor().is_err(),
                text.unit_path().is_err(),
                text.unit_word().is_err(),
                text.shell().is_err(),
            ]
        };
        assert_eq!(refused(b"/a b"), [false; 4]);
        assert_eq!(refused(b"/a\nb"), [true, true, false, false]);
        assert_eq!(refused(b"/a\x1bb"), [true, true, true, false]);
        assert_eq!(refused(b"/a\xffb"), [true, true, true, false]);
        assert_eq!(refused(b"/a\"b"), [false, true, false, false]);
        assert_eq!(refused(b"/a\0b"), [true, true, true, true]);
    }
}
