//! The shape of the file: which keys there are, what each means, and what its values look like.
//!
//! This is the one list of keys. The parser takes the names from here (`KEYS`), the JSON Schema is
//! derived from the same structs, and the reference page is written from that schema. The structs
//! are never filled: a schema cannot say where in the file a mistake is, so the parser works on the
//! node tree instead.

#![allow(
    dead_code,
    reason = "the fields exist for their names, types and documentation"
)]

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A struct of the file's keys, with the list of their names.
macro_rules! shape {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $key:literal $field:ident: $kind:ty,)* }) => {
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$about])*
        pub(crate) struct $name {
            $(#[schemars(rename = $key)] $(#[$field_about])* $field: $kind,)*
        }
        impl $name {
            /// The keys, in the order of the reference.
            pub(crate) const KEYS: &'static [&'static str] = &[$($key),*];
        }
    };
}

/// A type of text that a pattern describes.
macro_rules! text_form {
    ($($(#[$about:meta])* $name:ident = $pattern:expr;)*) => {$(
        $(#[$about])*
        pub(crate) struct $name;
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}

/// Components of a path: no pattern characters, no `.` or `..`.
macro_rules! components {
    () => {
        r"(?!(.*/)?\.\.?(/|$))[^*?\[\]{}\n\t]*$"
    };
}
/// A variable, and what may follow it.
macro_rules! below_variable {
    () => {
        concat!(r"\$(SKILL|WORK|HOME|TMP)(?![^/])(/", components!(), r"|$)")
    };
}
/// An absolute path outside the places that the sandbox makes itself.
macro_rules! below_root {
    () => {
        concat!(r"/(?!/*$)(?!/*(proc|sys|dev)(/|$))", components!())
    };
}
macro_rules! host_label {
    () => {
        r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?"
    };
}
/// A host name whose last label is no number.
macro_rules! host_name {
    () => {
        concat!(
            r"(?!([^:]*\.)?([0-9]+|0x[a-z0-9_\-]*)(:|$))(?![^:]{254})",
            host_label!(),
            r"(\.",
            host_label!(),
            r")*"
        )
    };
}
/// An address: four numbers, or something in brackets.
macro_rules! address {
    () => {
        concat!("((", octet!(), r"\.){3}", octet!(), r"|\[[0-9a-f:.]+\])")
    };
}
macro_rules! octet {
    () => {
        r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
}
macro_rules! port {
    () => {
        r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

text_form! {
    /// A time with its unit.
    Time = r"^[1-9][0-9]*(ms|s|m|h|d)$";
    /// A size with its unit.
    Size = r"^[1-9][0-9]*(B|[KMGT](iB)?)$";
    /// A size per second.
    Rate = r"^[1-9][0-9]*(B|[KMGT](iB)?)/s$";
    /// A path that may be read or written.
    Path = concat!("^-?(", below_variable!(), "|", below_root!(), ")");
    /// A program's name or path.
    Program = concat!(r"^-?(", below_variable!(), "|", below_root!(), r"|\[$|(?!\.\.?$)[^\-$~/*?\[\]{}\s][^/*?\[\]{}\s]{0,254}$)");
    /// A destination of the network.
    Destination = concat!(
        r"^(https?://((\*\.)?", host_name!(), "|", address!(), ")(:", port!(), ")?",
        r"|(tcp|udp)://((\*\.)?", host_name!(), "|", address!(), "):", port!(), ")$"
    );
    /// A host, without a port.
    Host = concat!("^(", host_name!(), "|", address!(), ")$");
    /// A header with the place of the secret in it.
    Header = r"^[A-Za-z0-9!#$%&'*+.^_`|~\-]+:[^{}\n\t]*\{\}[^{}\n\t]*$";
    /// A device.
    Device = concat!("^(gpu|kvm|pty|/+dev/(?!/*$)", components!(), ")$");
    /// The name of an environment variable.
    VariableName = r"^[A-Za-z_][A-Za-z0-9_]*$";
    /// The name of a system call.
    SyscallName = r"^[a-z0-9_]+$";
    /// A built-in profile's name, or a file.
    Reference = r"^[^\n\t]+$";
    /// A name to show: one line.
    Name = r"^[^\n\t]+$";
    /// Text that is not empty.
    NonEmpty = r"^[\s\S]+$";
}

/// Text, or a number or truth value that is taken as its text.
pub(crate) struct Scalar;
impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"]})
    }
    fn inline_schema() -> bool {
        true
    }
}

/// `net.outbound`: a word, or destinations.
pub(crate) struct Outbound;
impl JsonSchema for Outbound {
    fn schema_name() -> Cow<'static, str> {
        "Outbound".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let destination = generator.subschema_for::<Destination>();
        json_schema!({"oneOf": [{"enum": ["none", "host"]}, {"type": "array", "items": destination}]})
    }
    fn inline_schema() -> bool {
        true
    }
}

shape! {
    /// An Aegis profile: what a command may do. What is not named is not granted.
    File {
        /// The version of this format. Always the first key, always 1.
        #[schemars(extend("const" = 1, "x-form" = "the number 1", "x-default" = "required"), example = 1)]
        "aegis" aegis: u32,
        /// What the profile is called in reports and in the audit log.
        #[schemars(extend("x-form" = "text of one line", "x-default" = "the file's name without its ending"), example = &"pr-review")]
        "name" name: Option<Name>,
        /// What the profile is for, in a sentence.
        #[schemars(extend("x-form" = "text", "x-default" = "none"), example = &"Reviews pull requests")]
        "description" description: Option<String>,
        /// Profiles that this one builds on, merged in this order, before the file itself. Lists add up;
        /// a single value in this file replaces what an extended profile says.
        #[schemars(extend("x-form" = "list of built-in names, and of files (with a `/` or ending in .yaml or .yml) relative to this one", "x-default" = "nothing", "uniqueItems" = true), example = serde_json::json!(["base"]))]
        "extends" extends: Option<Vec<Reference>>,
        /// The command that is run when none is given after `--`.
        #[schemars(extend("x-form" = "list: the program and its arguments", "x-default" = "the command line must give one", "prefixItems" = [{"type": ["string", "number", "boolean"], "minLength": 1}]), example = serde_json::json!(["python3", "main.py"]), length(min = 1))]
        "run" run: Option<Vec<Scalar>>,
        /// What the command may do beyond running.
        #[schemars(extend("x-form" = "map"))]
        "capabilities" capabilities: Option<Capabilities>,
        /// The environment of the command: empty but for what is named here.
        #[schemars(extend("x-form" = "map"))]
        "environment" environment: Option<Environment>,
        /// How much the command may use.
        #[schemars(extend("x-form" = "map"))]
        "limits" limits: Option<Limits>,
        /// Which system calls the command may make.
        #[schemars(extend("x-form" = "map"))]
        "syscalls" syscalls: Option<Syscalls>,
    }
}

shape! {
    /// What the command may do beyond running.
    Capabilities {
        /// Files and directories that may be read; a directory grants everything below it. A leading
        /// `-` means: skip it where it does not exist.
        #[schemars(extend("x-form" = "list of paths that begin with `/`, `$SKILL`, `$WORK`, `$HOME` or `$TMP`", "x-default" = "nothing"), example = serde_json::json!(["$SKILL", "-/usr/share/zoneinfo"]))]
        "files.read" files_read: Option<Vec<Path>>,
        /// Directories and files that may be written, and read.
        #[schemars(extend("x-form" = "list of paths, as for `files.read`", "x-default" = "nothing but the private `$TMP` and home"), example = serde_json::json!(["$WORK/out"]))]
        "files.write" files_write: Option<Vec<Path>>,
        /// Programs that may be executed, and so read. What may not be executed is not readable as a
        /// program either. A directory grants every program below it.
        #[schemars(extend("x-form" = "list of program names (looked up in `PATH`) and paths", "x-default" = "only the command itself"), example = serde_json::json!(["git", "-$HOME/.cargo/bin"]))]
        "shell.exec" shell_exec: Option<Vec<Program>>,
        /// What may be reached over the network.
        #[schemars(extend("x-form" = "`none`, `host` (the host's own network), or a list of `scheme://host[:port]` with https, http, tcp or udp", "x-default" = "none"), example = serde_json::json!(["https://api.github.com", "tcp://db.internal:5432"]))]
        "net.outbound" net_outbound: Option<Outbound>,
        /// TCP ports that may be listened on.
        #[schemars(extend("x-form" = "list of numbers from 1 to 65535", "x-default" = "none"), inner(range(min = 1, max = 65535)), example = serde_json::json!([8080]))]
        "net.listen" net_listen: Option<Vec<u16>>,
        /// Secrets that may be used, by alias. The command never holds the value: it is put in on the
        /// way out, for the bound host only.
        #[schemars(extend("x-form" = "map of aliases", "x-default" = "none", "propertyNames" = {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"}))]
        "secrets.use" secrets_use: Option<std::collections::BTreeMap<String, SecretUse>>,
        /// Devices beyond the few that every sandbox has.
        #[schemars(extend("x-form" = "list of `gpu`, `kvm`, `pty`, and paths below /dev", "x-default" = "none"), example = serde_json::json!(["gpu"]))]
        "devices" devices: Option<Vec<Device>>,
    }
}

shape! {
    /// Where one secret may go. At least one of `header` and `env` is needed.
    #[schemars(extend("anyOf" = [{"required": ["header"]}, {"required": ["env"]}]))]
    SecretUse {
        /// The host that the secret may be sent to.
        #[schemars(extend("x-form" = "host name", "x-default" = "required"), example = &"api.github.com")]
        "to" to: Host,
        /// The header to send it in, with `{}` where the value goes.
        #[schemars(extend("x-form" = "`Name: value` with one `{}`", "x-default" = "none"), example = &"Authorization: Bearer {}")]
        "header" header: Option<Header>,
        /// The environment variable that holds a placeholder for the secret.
        #[schemars(extend("x-form" = "name of a variable", "x-default" = "none"), example = &"GITHUB_TOKEN")]
        "env" env: Option<VariableName>,
    }
}

shape! {
    /// The environment of the command: empty but for what is named here.
    Environment {
        /// Variables taken over from the caller, where they are set.
        #[schemars(extend("x-form" = "list of names", "x-default" = "none"), example = serde_json::json!(["LANG", "TERM"]))]
        "pass" pass: Option<Vec<VariableName>>,
        /// Variables set to a value, which may contain `$SKILL`, `$WORK`, `$HOME` and `$TMP`. Wins over `pass`.
        #[schemars(extend("x-form" = "map of names to text", "x-default" = "none", "propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}), example = serde_json::json!({"TZ": "UTC"}))]
        "set" set: Option<std::collections::BTreeMap<String, Scalar>>,
    }
}

shape! {
    /// How much the command may use. A limit that is not given is not set.
    Limits {
        /// Wall time of the whole run.
        #[schemars(extend("x-form" = "time: ms, s, m, h, d", "x-default" = "not limited"), example = &"5m")]
        "time" time: Option<Time>,
        /// Memory and swap of all processes together.
        #[schemars(extend("x-form" = "size: B, K, M, G, T (powers of 1024)", "x-default" = "not limited"), example = &"512M")]
        "memory" memory: Option<Size>,
        /// Processor time per wall time, in processors.
        #[schemars(extend("x-form" = "number from 0.01 to 10000 with up to three decimals", "x-default" = "not limited"), range(min = 0.01, max = 10000.0), example = 1.5)]
        "cpu" cpu: Option<f64>,
        /// Processes and threads at one time.
        #[schemars(extend("x-form" = "whole number", "x-default" = "not limited"), range(min = 1, max = 4194304), example = 64)]
        "pids" pids: Option<u64>,
        /// Open files of one process.
        #[schemars(extend("x-form" = "whole number", "x-default" = "as for the caller"), range(min = 1, max = 1073741824), example = 256)]
        "files" files: Option<u64>,
        /// Size of any one file that is written.
        #[schemars(extend("x-form" = "size", "x-default" = "not limited"), example = &"100M")]
        "file-size" file_size: Option<Size>,
        /// Bytes of standard output and standard error together.
        #[schemars(extend("x-form" = "size", "x-default" = "not limited"), example = &"1M")]
        "output" output: Option<Size>,
        /// Size of the private temporary file system.
        #[schemars(extend("x-form" = "size", "x-default" = "the runtime's own"), example = &"64M")]
        "tmp" tmp: Option<Size>,
        /// Reads from disks.
        #[schemars(extend("x-form" = "size per second", "x-default" = "not limited"), example = &"50M/s")]
        "disk-read" disk_read: Option<Rate>,
        /// Writes to disks.
        #[schemars(extend("x-form" = "size per second", "x-default" = "not limited"), example = &"20M/s")]
        "disk-write" disk_write: Option<Rate>,
        /// Network traffic, both ways.
        #[schemars(extend("x-form" = "size per second", "x-default" = "not limited"), example = &"10M/s")]
        "net" net: Option<Rate>,
    }
}

shape! {
    /// Which system calls the command may make.
    Syscalls {
        /// The set to start from.
        #[schemars(extend("x-form" = "`default`, `minimal`, or `learned` (nothing but what `allow` lists)", "x-default" = "default"), example = &"minimal")]
        "base" base: Option<Base>,
        /// System calls added to it.
        #[schemars(extend("x-form" = "list of names", "x-default" = "none"), example = serde_json::json!(["personality"]))]
        "allow" allow: Option<Vec<SyscallName>>,
        /// System calls taken away, last.
        #[schemars(extend("x-form" = "list of names", "x-default" = "none"), example = serde_json::json!(["socket"]))]
        "deny" deny: Option<Vec<SyscallName>>,
    }
}

/// The set of system calls to start from.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub(crate) enum Base {
    /// What programs use.
    Default,
    /// What a small program needs.
    Minimal,
    /// Nothing.
    Learned,
}
