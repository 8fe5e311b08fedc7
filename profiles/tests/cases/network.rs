//! The network, and the secrets that go over it.

/// See `super::Cases`.
pub const CASES: super::Cases = super::Cases {
    good: &[
        "capabilities: {net.outbound: none}",
        "capabilities: {net.outbound: host}",
        "capabilities: {net.outbound: []}",
        "capabilities: {net.outbound: [\"https://api.github.com\", \"http://a.b:8080\", \"tcp://db.internal:5432\"]}",
        "capabilities: {net.outbound: [\"https://*.github.com\", \"udp://192.0.2.7:53\", \"https://[2001:db8::1]:8443\"]}",
        "capabilities: {net.outbound: [\"https://localhost\", \"https://xn--bcher-kva.example\", \"https://1a.2b\"]}",
        "capabilities: {net.listen: [1, 8080, 65535]}",
        "capabilities: {secrets.use: {github: {to: api.github.com, header: \"Authorization: Bearer {}\", env: GITHUB_TOKEN}}}",
        "capabilities: {secrets.use: {a: {to: \"localhost:4000\", env: T}, b: {to: \"a.b:8443\", env: U}, c: {to: \"[::1]:1\", env: V}}}",
        "capabilities: {secrets.use: {a.b-c_1: {to: 192.0.2.7, env: T}, b: {to: x, header: \"X-Key: {}\"}}}",
    ],
    bad: &[
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
            "capabilities: {secrets.use: {g: {to: localhost, env: T}}}",
            "write `localhost:PORT`",
        ),
        (
            "capabilities: {secrets.use: {g: {to: \"a.b:0\", env: T}}}",
            "is not a port",
        ),
        (
            "capabilities: {secrets.use: {g: {to: \"https://a.b\", env: T}}}",
            "write `a.b`",
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
    ],
};
