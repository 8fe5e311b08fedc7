//! What a profile asks for of the host: paths, programs, devices.

/// See `super::Cases`.
pub const CASES: super::Cases = super::Cases {
    good: &[
        "capabilities: {files.read: []}",
        "capabilities: {files.read: [$SKILL, $WORK, $HOME/.config, $TMP/x, /usr/share/zoneinfo]}",
        "capabilities: {files.read: [-/opt/x, -$HOME/y]}",
        "capabilities: {files.read: [/usr//share/, /a/..b/.c, /procs, /system, /device]}",
        "capabilities: {files.read: [\"/with space/and 'quote'\", /ünï]}",
        "capabilities: {files.write: [$WORK/out, /srv/data]}",
        "capabilities:\n  files.write:\n    - $WORK\n",
        "capabilities: {shell.exec: [git, python3, -gcc, g++, \"[\", 7z, \"true\"]}",
        "args: append\nrun: [python3, $SKILL/main.py]\ncapabilities: {shell.exec: [$TMP]}",
        "capabilities: {shell.exec: [/usr/bin/git, -/usr/lib/git-core, $WORK/target, $HOME/.cargo/bin]}",
        r#"capabilities: {files.read: ['$WORK/app/\[slug\]/page.tsx', "/a/\\*\\?\\{\\}", '/a/\\b'], shell.exec: ['g\[', "\\{"]}"#,
        "capabilities: {files.deny: [$WORK/.env, $WORK/secrets, /srv/data/key, \"**/.env\", $WORK/**/.env, /srv/**/config/key]}",
        r#"capabilities: {files.deny: ['**/\[x\]']}"#,
        "capabilities: {devices: [gpu, kvm, pty, /dev/ttyUSB0, /dev/snd/seq]}",
    ],
    bad: &[
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
        (
            "capabilities: {files.read: [/a/*]}",
            "where `*` is part of a name, write `\\*`",
        ),
        (r"capabilities: {files.read: ['/a/\b']}", "write `\\\\` for"),
        (
            r"capabilities: {files.read: ['/a\']}",
            "before what needs none",
        ),
        ("capabilities: {files.deny: [\"**/\"]}", "empty"),
        (
            "capabilities: {files.deny: [\"**/*.pem\"]}",
            "patterns (`*`)",
        ),
        ("capabilities: {files.deny: [/]}", "nothing is granted"),
        ("capabilities: {files.deny: [/proc/1]}", "the sandbox's own"),
        ("capabilities: {files.deny: [-$WORK/x]}", "skipped anyway"),
        ("run: python3 main.py", "`run: [python3, main.py]`"),
        ("args: add", "write `replace` or `append`"),
        ("capabilities: {files.deny: [.env]}", "write `$SKILL/.env`"),
        ("capabilities: {devices: [gpus]}", "did you mean `gpu`?"),
        ("capabilities: {devices: [/dev]}", "not a path below /dev"),
        ("capabilities: {devices: [/dev/../etc]}", "`..` in a path"),
        (
            "capabilities: {devices: [/etc/passwd]}",
            "not a path below /dev",
        ),
    ],
};
