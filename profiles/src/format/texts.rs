//! The texts that values are made of: the name of each in an error, its pattern in the JSON Schema, and its
//! parser, which checks more than a pattern can.

use serde_json::{Value as Json, json};

use crate::form::{Takes, Text, pattern, scalar, words};
use crate::limits::Unit;
use crate::model::{
    Args, BaselineFile, Denied, Destination, Device, Endpoint, PathSpec, Program, Sockets,
    SyscallBase,
};
use crate::units;
use crate::values::paths::{self, Use};
use crate::values::{names, net};

/// Components of a path: no pattern characters without a `\` before them, no `.` or `..`.
macro_rules! components {
    () => {
        r"(?!(.*/)?\.\.?(/|$))([^*?\[\]{}\\\n\t]|\\[*?\[\]{}\\])*$"
    };
}
/// A path: a variable and what may follow it, or an absolute path outside the places that the sandbox
/// makes itself.
macro_rules! path {
    () => {
        concat!(
            r"\$(SKILL|WORK|HOME|TMP)(?![^/])(/",
            components!(),
            r"|$)|/(?!/*$)(?!/*(proc|sys|dev)(/|$))",
            components!()
        )
    };
}
macro_rules! host_label {
    () => {
        r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?"
    };
}
macro_rules! octet {
    () => {
        r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
}
/// A host: a name whose last label is not a number, or an address: four numbers, or something in brackets.
/// The argument is what may precede a name.
macro_rules! host {
    ($before:literal) => {
        concat!(
            $before,
            r"(?!([^:]*\.)?([0-9]+|0x[a-z0-9_\-]*)(:|$))(?![^:]{254})",
            host_label!(),
            r"(\.",
            host_label!(),
            r")*|((",
            octet!(),
            r"\.){3}",
            octet!(),
            r"|\[[0-9a-f:.]+\])"
        )
    };
}
macro_rules! port {
    () => {
        r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

const LINE: fn() -> Json = || pattern(r"^[^\n\t]+$");
const PATH: fn() -> Json = || pattern(concat!("^-?(", path!(), ")"));

/// The pattern of an alias of a secret.
pub(crate) const ALIAS: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";
/// The pattern of the name of an environment variable.
pub(crate) const VARIABLE_NAME: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

pub(crate) const NAME: Text<String> = Text::new("a name", LINE, names::name);
pub(crate) const DESCRIPTION: Text<String> = Text::new(
    "a description",
    || json!({"type": "string"}),
    |text| Ok(text.to_owned()),
);
pub(crate) const REFERENCE: Text<String> =
    Text::new("a profile's name or file", LINE, names::reference);
pub(crate) const READ: Text<PathSpec> =
    Text::new("a path", PATH, |text| paths::path(text, Use::Read));
pub(crate) const WRITE: Text<PathSpec> =
    Text::new("a path", PATH, |text| paths::path(text, Use::Write));
pub(crate) const DENIED: Text<Denied> = Text::new(
    "a path, or `**/` and a name",
    || {
        pattern(concat!(
            "^(",
            path!(),
            r"|((\$(SKILL|WORK|HOME|TMP)(?![^/])|/(?!/*(proc|sys|dev)(/|$)))([^*?\[\]{}\\\n\t]|\\[*?\[\]{}\\])*/)?\*\*/(?!/*$)",
            components!(),
            ")"
        ))
    },
    paths::denied,
);
pub(crate) const PROGRAM: Text<Program> = Text::new(
    "a program's name or path",
    || {
        pattern(concat!(
            "^-?(",
            path!(),
            r"|\[$|(?!\.\.?$)(?![\-$~])([^/*?\[\]{}\\\s]|\\[*?\[\]{}\\]){1,255}$)"
        ))
    },
    paths::program,
);
pub(crate) const DESTINATION: Text<Destination> = Text::new(
    "a destination",
    || {
        pattern(concat!(
            r"^(https?://(",
            host!(r"(\*\.)?"),
            ")(:",
            port!(),
            ")?|(tcp|udp)://(",
            host!(r"(\*\.)?"),
            "):",
            port!(),
            ")$"
        ))
    },
    net::destination,
);
pub(crate) const PORT: Text<u16> = Text {
    takes: Takes::Number,
    show: u16::to_string,
    ..Text::new(
        "a port from 1 to 65535",
        || json!({"type": "integer", "format": "uint16", "minimum": 1, "maximum": 65535}),
        net::port,
    )
};
pub(crate) const ENDPOINT: Text<Endpoint> = Text {
    show: |to| scalar(&to.to_string()),
    ..Text::new(
        "a host",
        || {
            pattern(concat!(
                "^(?!localhost$)(",
                host!(""),
                ")(:",
                port!(),
                ")?$"
            ))
        },
        net::endpoint,
    )
};
pub(crate) const HEADER: Text<String> = Text::new(
    "a header",
    || pattern(r"^[A-Za-z0-9!#$%&'*+.^_`|~\-]+:[^{}\n\t]*\{\}[^{}\n\t]*$"),
    names::header,
);
pub(crate) const PARAMETER: Text<String> = Text::new(
    "a parameter's name",
    || pattern(r"^[A-Za-z0-9_.~\-]{1,64}$"),
    names::parameter,
);
pub(crate) const LIKE: Text<String> = Text::new(
    "what a key looks like",
    || pattern(r"^[A-Za-z0-9_.~\-]{0,64}\{\}[A-Za-z0-9_.~\-]{0,64}$"),
    names::like,
);
pub(crate) const TIME: Text<u64> = Text {
    show: |ms| units::show_time(*ms),
    ..Text::new("a time", || Unit::Time.schema(), units::time)
};
pub(crate) const DEVICE: Text<Device> = Text::new(
    "a device",
    || pattern(concat!("^(gpu|kvm|pty|/+dev/(?!/*$)", components!(), ")$")),
    paths::device,
);
pub(crate) const VARIABLE: Text<String> = Text::new(
    "a variable's name",
    || pattern(VARIABLE_NAME),
    names::variable,
);
pub(crate) const SYSCALL: Text<String> = Text::new(
    "a system call's name",
    || pattern("^[a-z0-9_]+$"),
    names::syscall,
);
pub(crate) const BASELINE: Text<BaselineFile> = Text::new(
    "a baseline",
    || pattern(r"^(?!\.{1,2} )[^/\n\t]+ sha256:[0-9a-f]{64}$"),
    names::baseline,
);
pub(crate) const ARGS: Text<Args> = Text::new(
    "`replace` or `append`",
    || {
        words([
            ("replace", "They are the command, in place of `run`."),
            ("append", "They are further arguments of `run`."),
        ])
    },
    names::args,
);
pub(crate) const SOCKETS: Text<Sockets> = Text::new(
    "`none` or `private`",
    || {
        words([
            ("none", "Only pairs."),
            ("private", "Those of the sandbox's own places."),
        ])
    },
    names::sockets,
);
pub(crate) const BASE: Text<SyscallBase> = Text::new(
    "the name of a set",
    || {
        words([
            ("default", "What programs use."),
            ("minimal", "What a small program needs."),
            ("learned", "Nothing."),
        ])
    },
    names::syscall_base,
);
