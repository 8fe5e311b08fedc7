//! Good and bad files in a table: what the parser says of each, and that the schema agrees.

mod support;

use aegis_profile::parse_str;

/// Files that both accept. `aegis: 1` is put before each.
const GOOD: &[&str] = &[
    "",
    "name: a",
    "name: \"7\"",
    "name: Überprüfung",
    "description: |\n  Two\n  lines\n",
    "extends: []",
    "extends: [base, ./own.yaml, /abs/x.yml]",
    "run: [sleep, 5]",
    "run: [python3, -c, \"print(1)\\nprint(2)\"]",
    "run: [test, true, 1.50]",
    "capabilities: {}",
    "capabilities: {files.read: []}",
    "capabilities: {files.read: [$SKILL, $WORK, $HOME/.config, $TMP/x, /usr/share/zoneinfo]}",
    "capabilities: {files.read: [-/opt/x, -$HOME/y]}",
    "capabilities: {files.read: [/usr//share/, /a/..b/.c, /procs, /system, /device]}",
    "capabilities: {files.read: [\"/with space/and 'quote'\", /ünï]}",
    "capabilities: {files.write: [$WORK/out, /srv/data]}",
    "capabilities:\n  files.write:\n    - $WORK\n",
    "capabilities: {shell.exec: [git, python3, -gcc, g++, \"[\", 7z, \"true\"]}",
    "capabilities: {shell.exec: [/usr/bin/git, -/usr/lib/git-core, $WORK/target, $HOME/.cargo/bin]}",
    "capabilities: {net.outbound: none}",
    "capabilities: {net.outbound: host}",
    "capabilities: {net.outbound: []}",
    "capabilities: {net.outbound: [\"https://api.github.com\", \"http://a.b:8080\", \"tcp://db.internal:5432\"]}",
    "capabilities: {net.outbound: [\"https://*.github.com\", \"udp://192.0.2.7:53\", \"https://[2001:db8::1]:8443\"]}",
    "capabilities: {net.outbound: [\"https://localhost\", \"https://xn--bcher-kva.example\", \"https://1a.2b\"]}",
    "capabilities: {net.listen: [1, 8080, 65535]}",
    "capabilities: {secrets.use: {github: {to: api.github.com, header: \"Authorization: Bearer {}\", env: GITHUB_TOKEN}}}",
    "capabilities: {secrets.use: {a.b-c_1: {to: 192.0.2.7, env: T}, b: {to: x, header: \"X-Key: {}\"}}}",
    "capabilities: {devices: [gpu, kvm, pty, /dev/ttyUSB0, /dev/snd/seq]}",
    "environment: {pass: [LANG, _x, A1]}",
    "environment: {set: {TZ: UTC, N: 5, B: true, F: 1.50, E: \"\", S: $WORK/x, LD_PRELOAD: /x.so}}",
    "environment: {pass: [], set: {}}",
    "limits: {time: 500ms, memory: 512M, cpu: 1.5, pids: 64, files: 256, file-size: 100M, output: 1M, tmp: 2G}",
    "limits: {disk-read: 50M/s, disk-write: 20KiB/s, net: 1T/s}",
    "limits: {time: 1d, memory: 1B, cpu: 0.01, pids: 4194304}",
    "limits: {time: \"5m\", cpu: 2, memory: 16GiB}",
    "limits: {cpu: 10000}",
    "limits: {}",
    "syscalls: {base: default, allow: [], deny: []}",
    "syscalls: {base: learned, allow: [openat2, read, clone3]}",
    "syscalls: {base: minimal, deny: [socket]}",
    "# only a comment",
];

/// Files that both refuse, and a part of what the parser says.
const BAD: &[(&str, &str)] = &[
    ("nmae: a", "did you mean `name`?"),
    (
        "files.read: [/a]",
        "`files.read` belongs under `capabilities:`",
    ),
    ("timeout: 5m", "unknown key \"timeout\""),
    (
        "capabilities: {file.read: [/a]}",
        "did you mean `files.read`?",
    ),
    (
        "capabilities: {files: {read: [/a]}}",
        "a key is written with its dot, as in `files.read:`",
    ),
    ("capabilities: {time: 5m}", "`time` belongs under `limits:`"),
    ("capabilities: {name: x}", "belongs at the top of the file"),
    ("name:", "expected a name, found nothing"),
    ("name: \"\"", "a name is one line, and not empty"),
    ("name: 7", "quote it if you mean the text: \"7\""),
    ("name: [a]", "expected a name, found a list"),
    ("description: true", "found true or false"),
    ("extends: base", "write it as a list: `extends: [base]`"),
    ("extends: [base, base]", "extended twice"),
    ("extends: [\"\"]", "not a profile's name or file"),
    ("run: []", "`run` is empty"),
    ("run: [[a], x]", "found a list"),
    ("run: [\"\", x]", "the command's name is empty"),
    ("run: ls -l", "write it as a list: `run: [ls -l]`"),
    ("run: [a, [b]]", "found a list"),
    ("run: [a, null]", "found nothing"),
    ("capabilities:", "found nothing"),
    (
        "capabilities: [files.read]",
        "expected a map of capabilities, found a list",
    ),
    (
        "capabilities: {files.read: /a}",
        "write it as a list: `files.read: [/a]`",
    ),
    (
        "capabilities: {files.read: {a: b}}",
        "`files.read` is a list, and this is a map",
    ),
    (
        "capabilities: {files.read: [a]}",
        "write `$SKILL/a` (beside the profile) or `$WORK/a`",
    ),
    ("capabilities: {files.read: [./a]}", "write `$SKILL/a`"),
    ("capabilities: {files.read: [~/x]}", "write `$HOME/x`"),
    ("capabilities: {files.read: [\"~\"]}", "write `$HOME`"),
    (
        "capabilities: {files.read: [/]}",
        "name what needs to be read",
    ),
    (
        "capabilities: {files.read: [-//]}",
        "name what needs to be read",
    ),
    (
        "capabilities: {files.read: [/a/*]}",
        "a directory grants everything below it",
    ),
    (
        "capabilities: {files.read: [\"/a/{b,c}\"]}",
        "a directory grants everything below it",
    ),
    ("capabilities: {files.read: [/a/../b]}", "`..` in a path"),
    ("capabilities: {files.read: [$WORK/.]}", "`.` in a path"),
    (
        "capabilities: {files.read: [$WROK/a]}",
        "did you mean `$WORK`?",
    ),
    (
        "capabilities: {files.read: [$WORKX]}",
        "did you mean `$WORK`?",
    ),
    (
        "capabilities: {files.read: [\"${WORK}/a\"]}",
        "a directory grants",
    ),
    (
        "capabilities: {files.read: [/proc/self]}",
        "the sandbox has its own /proc",
    ),
    (
        "capabilities: {files.read: [//sys]}",
        "/sys cannot be granted",
    ),
    (
        "capabilities: {files.write: [/dev/shm]}",
        "list a device node under `devices`",
    ),
    (
        "capabilities: {files.write: [/]}",
        "name what needs to be written",
    ),
    ("capabilities: {files.read: [\"\"]}", "empty"),
    ("capabilities: {files.read: [\"-\"]}", "empty"),
    (
        "capabilities: {files.read: [\"/a\\tb\"]}",
        "a line break or tab",
    ),
    (
        "capabilities: {files.read: [7]}",
        "quote it if you mean the text",
    ),
    (
        "capabilities: {shell.exec: [git status]}",
        "name the program only: `git`",
    ),
    ("capabilities: {shell.exec: [python*]}", "patterns (`*`)"),
    (
        "capabilities: {shell.exec: [./run.sh]}",
        "write `$SKILL/run.sh`",
    ),
    (
        "capabilities: {shell.exec: [true]}",
        "quote it if you mean the text: \"true\"",
    ),
    ("capabilities: {shell.exec: [/]}", "name the programs"),
    (
        "capabilities: {shell.exec: [/dev/fd]}",
        "/dev cannot be granted",
    ),
    ("capabilities: {shell.exec: [..]}", "`..` is not a program"),
    ("capabilities: {shell.exec: [--]}", "cannot begin with `-`"),
    ("capabilities: {net.outbound: hots}", "did you mean `host`?"),
    ("capabilities: {net.outbound: true}", "`net.outbound`"),
    (
        "capabilities: {net.outbound: [api.github.com]}",
        "write `https://api.github.com`",
    ),
    (
        "capabilities: {net.outbound: [host]}",
        "write `net.outbound: host`",
    ),
    (
        "capabilities: {net.outbound: [\"htps://a\"]}",
        "did you mean `https://`?",
    ),
    (
        "capabilities: {net.outbound: [\"https://a/b\"]}",
        "write `https://a`",
    ),
    (
        "capabilities: {net.outbound: [\"https://u:p@a\"]}",
        "a secret is named under `secrets.use`",
    ),
    (
        "capabilities: {net.outbound: [\"https://A.b\"]}",
        "write `a.b`",
    ),
    (
        "capabilities: {net.outbound: [\"https://a.b.\"]}",
        "write `a.b`",
    ),
    (
        "capabilities: {net.outbound: [\"https://*\"]}",
        "only a leading `*.`",
    ),
    (
        "capabilities: {net.outbound: [\"https://a.*.b\"]}",
        "only a leading `*.`",
    ),
    (
        "capabilities: {net.outbound: [\"https://127.1\"]}",
        "not an IPv4 address",
    ),
    (
        "capabilities: {net.outbound: [\"https://0x7f.0x1\"]}",
        "not an IPv4 address",
    ),
    (
        "capabilities: {net.outbound: [\"https://192.0.02.7\"]}",
        "not an IPv4 address",
    ),
    (
        "capabilities: {net.outbound: [\"https://256.0.0.1\"]}",
        "not an IPv4 address",
    ),
    (
        "capabilities: {net.outbound: [\"https://*.192.0.2.7\"]}",
        "not an IPv4 address",
    ),
    (
        "capabilities: {net.outbound: [\"https://a..b\"]}",
        "an empty part",
    ),
    (
        "capabilities: {net.outbound: [\"https://-a.b\"]}",
        "begins or ends with `-`",
    ),
    (
        "capabilities: {net.outbound: [\"https://a:0\"]}",
        "is not a port",
    ),
    (
        "capabilities: {net.outbound: [\"https://a:65536\"]}",
        "is not a port",
    ),
    (
        "capabilities: {net.outbound: [\"https://a:\"]}",
        "is not a port",
    ),
    (
        "capabilities: {net.outbound: [\"https://a:080\"]}",
        "is not a port",
    ),
    (
        "capabilities: {net.outbound: [\"tcp://a\"]}",
        "write `tcp://a:PORT`",
    ),
    (
        "capabilities: {net.outbound: [\"https://bücher.example\"]}",
        "`xn--`",
    ),
    (
        "capabilities: {net.outbound: [\"https://\"]}",
        "a host is missing",
    ),
    (
        "capabilities: {net.outbound: [\"https://2001:db8::1\"]}",
        "stands in brackets",
    ),
    (
        "capabilities: {net.listen: [0]}",
        "a port is a number from 1 to 65535",
    ),
    ("capabilities: {net.listen: [65536]}", "a port is a number"),
    (
        "capabilities: {net.listen: [\"80\"]}",
        "write it without quotes: 80",
    ),
    (
        "capabilities: {net.listen: 80}",
        "write it as a list: `net.listen: [80]`",
    ),
    (
        "capabilities: {secrets.use: {g: {env: T}}}",
        "a secret without `to`",
    ),
    (
        "capabilities: {secrets.use: {g: {to: a.b}}}",
        "a secret that goes nowhere",
    ),
    (
        "capabilities: {secrets.use: {g: {to: \"*.b\", env: T}}}",
        "name the host",
    ),
    (
        "capabilities: {secrets.use: {g: {to: a.b, header: X}}}",
        "not a header",
    ),
    (
        "capabilities: {secrets.use: {g: {to: a.b, header: \"X: y\"}}}",
        "needs one `{}`",
    ),
    (
        "capabilities: {secrets.use: {g: {to: a.b, header: \"X: {}{}\"}}}",
        "needs one `{}`",
    ),
    (
        "capabilities: {secrets.use: {g: {to: a.b, env: 1X}}}",
        "not a variable's name",
    ),
    (
        "capabilities: {secrets.use: {g: {to: a.b, value: x, env: T}}}",
        "unknown key \"value\"",
    ),
    (
        "capabilities: {secrets.use: {\"a b\": {to: a.b, env: T}}}",
        "cannot be an alias",
    ),
    ("capabilities: {devices: [gpus]}", "did you mean `gpu`?"),
    ("capabilities: {devices: [/dev]}", "not a path below /dev"),
    ("capabilities: {devices: [/dev/../etc]}", "`..` in a path"),
    (
        "capabilities: {devices: [/etc/passwd]}",
        "not a path below /dev",
    ),
    ("environment: {pass: [A-B]}", "not a variable's name"),
    ("environment: {pass: [LC_*]}", "name each variable"),
    ("environment: {pass: [\"A=b\"]}", "under `set:`"),
    ("environment: {pass: [1A]}", "not a variable's name"),
    ("environment: {set: {A: }}", "found nothing"),
    ("environment: {set: {A: [b]}}", "found a list"),
    ("environment: {set: {A-B: c}}", "not a variable's name"),
    ("limits: {time: 300}", "write `300s` for seconds"),
    ("limits: {time: 5 m}", "this is not a time"),
    ("limits: {time: 1m30s}", "this is not a time"),
    ("limits: {time: 0s}", "zero is not a limit"),
    ("limits: {time: -5s}", "this is not a time"),
    ("limits: {time: 05s}", "may not begin with 0"),
    ("limits: {memory: 512}", "write `512M`, or `512B` for bytes"),
    ("limits: {memory: 512MB}", "write `512M` (powers of 1024)"),
    ("limits: {memory: 512m}", "write `512M`"),
    ("limits: {memory: 1.5G}", "this is not a size"),
    ("limits: {memory: max}", "this is not a size"),
    ("limits: {memroy: 1G}", "did you mean `memory`?"),
    ("limits: {file_size: 1G}", "did you mean `file-size`?"),
    ("limits: {disk-read: 50M}", "write `50M/s`"),
    ("limits: {net: 50}", "write `50M/s`"),
    ("limits: {cpu: 0}", "too little processor time"),
    ("limits: {cpu: 0.001}", "too little processor time"),
    ("limits: {cpu: -1}", "not a number of processors"),
    ("limits: {cpu: 10001}", "too many processors"),
    ("limits: {cpu: \"2\"}", "write it without quotes: 2"),
    ("limits: {cpu: 50%}", "expected a number without a unit"),
    ("limits: {pids: 0}", "zero is not a limit"),
    ("limits: {pids: 64K}", "expected a number without a unit"),
    ("limits: {pids: 4194305}", "more than 4194304"),
    ("limits: {pids: 1.5}", "not a whole number"),
    ("limits: {files: -1}", "not a whole number"),
    (
        "limits: {files: 99999999999999999999999999}",
        "more than 1073741824",
    ),
    ("limits: 5m", "expected a map of limits"),
    (
        "syscalls: {base: all}",
        "write `default`, `minimal` or `learned`",
    ),
    ("syscalls: {allow: [Read]}", "not a system call's name"),
    (
        "syscalls: {allow: read}",
        "write it as a list: `allow: [read]`",
    ),
    ("syscalls: {block: [read]}", "unknown key \"block\""),
];

/// Whole files that the parser refuses for what no schema can see or say.
const BEYOND_THE_SCHEMA: &[(&str, &str)] = &[
    ("", "the file is empty"),
    ("# nothing\n", "the file is empty"),
    ("---\n", "expected a profile"),
    ("name: a\naegis: 1\n", "make `aegis: 1` the first line"),
    (
        "aegis: 1\nname: a\nname: b\n",
        "the key `name` is given twice",
    ),
    (
        "aegis: 1\nlimits: {time: 1s, \"time\": 2s}\n",
        "the key `time` is given twice",
    ),
    ("aegis: 1\nname: &x a\n", "YAML anchors"),
    ("aegis: 1\nname: &x a\ndescription: *x\n", "YAML aliases"),
    ("aegis: 1\nname: !!str a\n", "YAML tags"),
    ("aegis: 1\nlimits: !x {}\n", "YAML tags"),
    ("aegis: 1\nlimits: {<<: {time: 1s}}\n", "merge keys"),
    ("aegis: 1\n---\naegis: 1\n", "a second YAML document"),
    ("%YAML 1.1\n---\naegis: 1\n", "YAML directives"),
    (
        "aegis: 1\n5: x\n",
        "a key must be text, and this is a number",
    ),
    (
        "aegis: 1\n? [a]\n: b\n",
        "a key must be text, and this is a list",
    ),
    ("aegis: 1\nname: a\0b\n", "a NUL character"),
    ("aegis: 1\nname: \"a\\0b\"\n", "the character U+0000"),
    ("aegis: 1\nname: \"a\\u202eb\"\n", "the character U+202E"),
    ("aegis: 1\nname: a\u{202e}b\n", "character (U+202E)"),
    ("aegis: 1\n# \u{2067} hidden\n", "character (U+2067)"),
    ("aegis: 1\nname: a\u{200b}b\n", "character (U+200B)"),
    ("aegis: 1\nname: a\x1b[31mb\n", "character (U+001B)"),
    ("aegis: 1\nname: a\rb\n", "character (U+000D)"),
    ("aegis: 1\nname: [a\n", "not valid YAML"),
    ("aegis: 1\nname: 'a\n", "not valid YAML"),
    ("aegis: 1\n\tname: a\n", "not valid YAML"),
    (
        "aegis: 1\nlimits: {memory: 99999999999999999T}\n",
        "this number is too large",
    ),
    (
        "aegis: 1\nlimits: {time: 9999999999999999999999999999999999d}\n",
        "this number is too large",
    ),
    (
        "aegis: 1\nlimits: {cpu: 1.2345}\n",
        "more than three decimals",
    ),
    (
        "aegis: 1\nlimits: {cpu: 1e2}\n",
        "not a number of processors",
    ),
    ("aegis: 1\nlimits: {pids: 0x10}\n", "not a whole number"),
    ("aegis: 1\nlimits: {pids: 010}\n", "may not begin with 0"),
    (
        "aegis: 1\ncapabilities: {net.outbound: [\"https://[2001:DB8::1]\"]}\n",
        "write `[2001:db8::1]`",
    ),
    (
        "aegis: 1\ncapabilities: {net.outbound: [\"https://[0::1]\"]}\n",
        "write `[::1]`",
    ),
];

/// Files whose version both refuse.
const BAD_VERSION: &[(&str, &str)] = &[
    ("name: a\n", "a profile begins with its version"),
    ("{}\n", "a profile begins with its version"),
    ("aegis: 2\n", "version 2 of the profile format is not known"),
    ("aegis: \"1\"\n", "write `aegis: 1`"),
    ("aegis: one\n", "write `aegis: 1`"),
    ("aegis:\n", "write `aegis: 1`"),
    (
        "- aegis: 1\n",
        "expected a profile: a map of keys, found a list",
    ),
    ("aegis\n", "expected a profile: a map of keys, found text"),
];

fn refusal(text: &str) -> String {
    match parse_str(text, "x.yaml") {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn good_files_are_accepted_by_parser_and_schema() {
    for body in GOOD {
        let text = format!("aegis: 1\n{body}\n");
        if let Err(error) = parse_str(&text, "x.yaml") {
            panic!("{text}{error}");
        }
        let json = aegis_profile::yaml_to_json(&text, "x.yaml").unwrap();
        if let Err(error) = support::VALIDATOR.validate(&json) {
            panic!("the schema refuses:\n{text}{error}");
        }
    }
}

#[test]
fn bad_files_are_refused_by_parser_and_schema_with_the_fix() {
    let whole = BAD
        .iter()
        .map(|(body, said)| (format!("aegis: 1\n{body}\n"), said));
    let versions = BAD_VERSION
        .iter()
        .map(|(text, said)| ((*text).to_owned(), said));
    let mut wrong = String::new();
    for (text, said) in whole.chain(versions) {
        let error = refusal(&text);
        if !error.contains(said) {
            wrong += &format!("`{said}` is not said of:\n{text}{error}\n\n");
        }
        if support::schema_accepts(&text) != Some(false) {
            wrong += &format!("the schema does not refuse:\n{text}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_a_schema_cannot_say_is_refused_by_the_parser() {
    let mut wrong = String::new();
    for (text, said) in BEYOND_THE_SCHEMA {
        let error = refusal(text);
        if !error.contains(said) {
            wrong += &format!("`{said}` is not said of:\n{text}{error}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
