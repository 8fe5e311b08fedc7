//! How names are shown: nothing steers a terminal, and no two names look the same.

use super::*;

#[test]
fn nothing_from_outside_steers_the_terminal_or_looks_like_the_question() {
    let wide = format!("{}Allow it? [y/a/N] y", " ".repeat(80 - 12));
    let far = format!("{}\n  y   yes", "\u{4e00}".repeat(500));
    for hostile in HOSTILE.iter().copied().chain([&*wide, &*far]) {
        let mut context = context();
        context.profile = hostile.into();
        context.work = hostile.into();
        let whats = vec![
            read(hostile.as_bytes()),
            What::Environment {
                name: hostile.into(),
            },
            What::Device {
                device: hostile.into(),
            },
            What::Exec {
                except: Vec::new(),
                name: Some(hostile.into()),
                path: hostile.into(),
                tree: true,
            },
        ];
        let text = shown(whats, &context, &[hostile.into()], true);
        for c in text.chars() {
            assert!(
                c == '\n' || matches!(c, ' '..='~'),
                "{c:?} of {hostile:?}: {text}"
            );
        }
        for line in text.lines() {
            // Lines begin with our own words: a heading, a label, or the indent of a broken line.
            let label = line.get(..12).unwrap_or(line).trim();
            let ours = [
                "",
                "profile",
                "policy",
                "for",
                "command",
                "risk",
                "1",
                "2",
                "3",
                "4",
                "aegis-run: t",
            ];
            let choice = ["y   yes, th", "a   yes, fo", "N   no: not"];
            assert!(
                ours.contains(&label) || choice.iter().any(|c| label.starts_with(&c[..9])),
                "{line:?} of {hostile:?}: {text}"
            );
            assert!(line.len() < 80, "{line:?} wraps: {text}");
        }
        // The text is quoted, so that its end is visible.
        let labels = text
            .lines()
            .filter(|line| line.starts_with("  profile   \""));
        let quoted = hostile
            .chars()
            .any(|c| !c.is_ascii_alphanumeric() && !"/._-".contains(c));
        assert_eq!(labels.count(), usize::from(quoted), "{hostile:?}: {text}");
    }
}

#[test]
fn different_paths_look_different() {
    let paths: [&[u8]; 12] = [
        b"/srv/a",
        b"/srv/a ",
        b"/srv/a\xff",
        b"/srv/a\xfe",
        "/srv/a\u{fffd}".as_bytes(),
        b"/srv/a\\xff",
        b"/srv/a, and everything below it",
        b"/srv/a\n",
        b"/srv/a\\n",
        "/srv/a\u{a0}".as_bytes(),
        b"/srv/a\\u{a0}",
        b"\"/srv/a\"",
    ];
    let mut texts: Vec<String> = paths
        .iter()
        .map(|path| shown(vec![read(path)], &context(), &[], true))
        .collect();
    texts.push(shown(
        vec![What::Read {
            except: Vec::new(),
            path: "/srv/a".into(),
            tree: true,
        }],
        &context(),
        &[],
        true,
    ));
    // The thing itself must differ, not only the note on its location.
    let things: std::collections::BTreeSet<String> = texts
        .iter()
        .map(|text| {
            text.lines()
                .find(|line| line.starts_with("  1 "))
                .expect("the thing")
                .to_owned()
        })
        .collect();
    assert_eq!(things.len(), texts.len(), "{things:#?}");
}

/// The text that was passed to [`text::quoted`].
fn unquoted(text: &str) -> Vec<u8> {
    let Some(inner) = text.strip_prefix('"') else {
        return text.into();
    };
    let mut rest = inner.strip_suffix('"').expect("it ends");
    let mut out = Vec::new();
    while let Some(c) = rest.chars().next() {
        rest = &rest[1..];
        if c != '\\' {
            out.push(c as u8);
            continue;
        }
        let (kind, after) = rest.split_at(1);
        rest = after;
        match kind {
            "u" => {
                let (number, after) = rest[1..].split_once('}').expect("it is closed");
                let number = u32::from_str_radix(number, 16).expect("hex");
                let c = char::from_u32(number).expect("a character");
                out.extend(c.encode_utf8(&mut [0; 4]).bytes());
                rest = after;
            }
            "x" => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("hex"));
                rest = &rest[2..];
            }
            itself => out.extend(itself.bytes()),
        }
    }
    out
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[test]
fn every_character_of_unicode_is_shown_in_printable_ascii_that_is_its_own() {
    for c in '\0'..=char::MAX {
        let path = format!("/srv/{c}");
        let shown = text::quoted(path.as_bytes());
        assert!(is_printable(&shown), "{c:?}: {shown:?}");
        assert_eq!(unquoted(&shown), path.as_bytes(), "{c:?}: {shown}");
        assert!(c.is_ascii() || shown.contains("\\u{"), "{c:?}: {shown}");
    }
}

/// All texts of some length of the characters that have a special meaning.
fn texts() -> Vec<Vec<u8>> {
    let pieces: [&[u8]; 8] = [
        b"a",
        b" ",
        b"\\",
        b"\"",
        b"u{20}",
        b"\xff",
        "\u{5b0}".as_bytes(),
        b",",
    ];
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..5 {
        let before = all.len();
        for i in from..before {
            for piece in pieces {
                all.push([all[i].as_slice(), piece].concat());
            }
        }
        from = before;
    }
    all
}

#[test]
fn different_texts_look_different_also_where_they_are_broken() {
    for width in [3, 7, 40] {
        let mut known = std::collections::BTreeMap::new();
        for bytes in texts() {
            let text = text::quoted(&bytes);
            assert!(is_printable(&text), "{text:?}");
            assert_eq!(unquoted(&text), bytes, "{text}");
            let lines = text::broken(&text, width);
            assert!(lines.iter().all(|line| line.len() <= width), "{lines:?}");
            // A blank at the end of a line is invisible.
            assert!(!lines.iter().any(|line| line.ends_with(' ')), "{lines:?}");
            let other = known.insert(lines.join("\n"), bytes);
            // `u{20}` and `"` have been written in two ways.
            assert!(
                other.is_none_or(|other| unquoted(&text) == other),
                "{lines:?}"
            );
        }
    }
}
