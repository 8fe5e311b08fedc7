//! Whole files: those that are not profiles, YAML that is not accepted, text that hides something.

/// Whole files that the parser refuses for reasons that no schema can express.
pub const BEYOND_THE_SCHEMA: &[(&str, &str)] = &[
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"Host: {}\"}}}\n",
        "says where a request goes",
    ),
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"transfer-encoding: {}\"}}}\n",
        "says where a request goes",
    ),
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"Content_Length: {}\"}}}\n",
        "says where a request goes",
    ),
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"TE: {}\"}}}\n",
        "says where a request goes",
    ),
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"Proxy-Authorization: {}\"}}}\n",
        "says where a request goes",
    ),
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"Sec-WebSocket-Protocol: {}\"}}}\n",
        "says where a request goes",
    ),
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"Range: {}\"}}}\n",
        "says where a request goes",
    ),
    (
        "aegis: 1\ncapabilities: {secrets.use: {g: {to: a.b, header: \"Accept-Encoding: {}\"}}}\n",
        "says where a request goes",
    ),
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
    (
        "aegis: 1\ncapabilities: {files.deny: [**/.env]}\n",
        "needs quotes: `\"**/.env\"`",
    ),
    (
        "aegis: 1\ncapabilities: {files.deny: [$TMP/x]}\n",
        "the sandbox's own",
    ),
    (
        "aegis: 1\ncapabilities: {shell.exec: [$TMP/x]}\n",
        "write `$TMP`",
    ),
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
    // Canonical JSON, in which limits are recorded, has no exact number for it.
    (
        "aegis: 1\nlimits: {memory: 9007199254740993B}\n",
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
pub const BAD_VERSION: &[(&str, &str)] = &[
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
