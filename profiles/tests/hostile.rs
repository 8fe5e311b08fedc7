//! Hostile files: they are refused quickly, and cannot control the terminal. The test runner ends a test that
//! takes minutes.

use aegis_profile::{Files, load, parse_str};

fn refused_quickly(what: &str, text: &str) -> String {
    let error = match parse_str(text, "x.yaml") {
        Ok(_) => panic!("{what}: accepted"),
        Err(error) => error.to_string(),
    };
    assert!(
        error.len() < 50_000,
        "{what}: an error of {} bytes",
        error.len()
    );
    error
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |n: usize, open: &str, close: &str| {
        format!("aegis: 1\nname: {}{}", open.repeat(n), close.repeat(n))
    };
    for n in [16, 17, 200, 100_000] {
        refused_quickly("brackets", &deep(n, "[", "]"));
        refused_quickly("braces", &deep(n, "{a: ", "}"));
        refused_quickly("open brackets", &deep(n, "[", ""));
        refused_quickly("dashes", &format!("aegis: 1\nrun:\n{}x", "- ".repeat(n)));
    }
    assert!(refused_quickly("brackets", &deep(20, "[", "]")).contains("nested more than 16 deep"));
    let ladder: String = (0..1000)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    refused_quickly("ladder", &ladder);
}

#[test]
fn a_megabyte_of_anything_is_refused_quickly() {
    let megabyte =
        |piece: &str| format!("aegis: 1\n{}", piece.repeat((1 << 20) / piece.len() - 16));
    for piece in [
        "\u{202e}", "\x01", "\"", "'", "? ", ": ", "- ", "-\n", "[", "{", "&a ", "*a ", "!a ",
        "a: ", "|\n", "%", "\n\n#", "a: b\n", "[], ", "{}, ", "\\", "\\u0000", "a", "ä", "a ",
        "\t", "---\n", "...\n", "<<: a\n", ">", "`", "@",
    ] {
        let text = megabyte(piece);
        assert!(text.len() <= 1 << 20);
        let _ = parse_str(&text, "x.yaml");
    }
}

#[test]
fn many_distinct_keys_and_items_stay_quick() {
    let keys: String = (0..60_000).map(|i| format!("k{i}: x\n")).collect();
    assert!(refused_quickly("keys", &format!("aegis: 1\n{keys}")).contains("more than 1024 keys"));
    let items: Vec<String> = (0..60_000).map(|i| format!("-/p{i}")).collect();
    let text = format!(
        "aegis: 1\ncapabilities: {{files.read: [{}]}}",
        items.join(", ")
    );
    let profile = parse_str(&text, "x.yaml").unwrap();
    assert_eq!(profile.capabilities.files_read.len(), 60_000);
}

#[test]
fn a_hundred_megabytes_are_refused_without_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.yaml");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let error = load(path.to_str().unwrap(), &Files)
        .unwrap_err()
        .to_string();
    assert!(error.contains("larger than 1 MiB"), "{error}");
}

#[test]
fn what_is_no_regular_file_is_named_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &str| load(path, &Files).unwrap_err().to_string();
    assert!(said(dir.path().to_str().unwrap()).contains("is a directory"));
    assert!(said("/dev/zero").contains("is a device"));
    assert!(said("./nothing-here").contains("there is no file"));
    let socket = dir.path().join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(said(socket.to_str().unwrap()).contains("is a socket"));
}

#[test]
fn bytes_that_are_no_text_are_refused_with_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("latin1.yaml");
    std::fs::write(&path, b"aegis: 1\nname: \xfcber\n").unwrap();
    let error = load(path.to_str().unwrap(), &Files)
        .unwrap_err()
        .to_string();
    assert!(error.contains("not UTF-8 text (line 2)"), "{error}");
}

#[test]
fn nothing_from_the_file_reaches_the_terminal_as_control() {
    for text in [
        "aegis: 1\nn\x1b[2Jame: a\n",
        "aegis: 1\n\"n\\e[2J\u{202e}\": a\n",
        "aegis: 1\nname: \u{9b}2J\n",
    ] {
        let error = parse_str(text, "x\x1b[2J.yaml").unwrap_err().to_string();
        assert!(
            !error.chars().any(|c| c.is_control() && c != '\n'),
            "{error:?}"
        );
        assert!(!error.contains('\u{202e}'), "{error:?}");
    }
}

#[test]
fn a_very_long_line_is_shown_in_part() {
    let text = format!(
        "aegis: 1\nrun: [{}, null, b]\n",
        "a, ".repeat(100_000).trim_end_matches(", ")
    );
    let error = parse_str(&text, "x.yaml").unwrap_err().to_string();
    assert!(error.len() < 1000, "{error}");
    let line = error.lines().find(|line| line.contains("null")).unwrap();
    let carets = error.lines().find(|line| line.contains("^^^^")).unwrap();
    assert_eq!(line.find("null"), carets.find('^'), "{error}");
}
