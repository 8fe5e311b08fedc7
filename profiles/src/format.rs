//! The format: each key once, with its type, its documentation and its [`Form`].
//!
//! The structs of a profile, the parser, the printer, the merge, the canonical JSON, the JSON Schema and
//! the reference page all come from this table. Adding a key takes one entry here, and a new form if none in
//! [`forms`] fits its values.

pub(crate) mod forms;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::error::Reporter;
use crate::form::{Form, Key, Keyed, Page, Section};
use crate::limits::Limits;
use crate::model::{
    Args, BaselineFile, Declared, Denied, Device, Endpoint, Outbound, PathSpec, Program, Sockets,
    SyscallBase, Version,
};
use crate::yaml::Node;
use forms::{
    Destinations, Extends, List, Maybe, Part, Run, Secrets, Single, TheVersion, Variables, Word,
};

/// A struct of the format: for each key its documentation, name, field, type and form, and for the
/// reference page the form in words, the default and an example. After `beside`: fields that are not keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident: $what:literal {
            $($(#[doc = $doc:literal])+
            $key:literal $field:ident: $kind:ty = $form:expr
            $(, $words:literal, $default:literal $(, $example:literal)?)?;)*
        }
        $(beside {$($(#[doc = $beside_doc:literal])+ $beside:ident: $beside_kind:ty;)*})?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $kind,)*
            $($($(#[doc = $beside_doc])+ pub $beside: $beside_kind,)*)?
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                $(self.$field == other.$field)&&*
            }
        }
        impl Eq for $name {}

        impl Keyed for $name {
            const SECTION: &'static Section = &Section {
                name: stringify!($name),
                about: concat!($($about),+),
                what: $what,
                keys: &[$(Key {
                    name: $key,
                    about: concat!($($doc),+),
                    form: concat!($($words)?),
                    default: concat!($($default)?),
                    example: concat!($($($example)?)?),
                    schema: || $form.schema(),
                    section: || $form.section(),
                }),*],
            };

            fn read(out: &mut Reporter<'_>, node: &Node) -> Self {
                let mut found = Self::default();
                for (key, node) in Self::entries(out, node) {
                    match key.text.as_str() {
                        $($key => found.$field = $form.read(out, $key, node),)*
                        _ => {}
                    }
                }
                found
            }

            fn merge(&mut self, later: &Self) {
                $($form.merge(&mut self.$field, &later.$field);)*
            }

            fn show(&self, page: &mut Page) {
                $($form.show(page, $key, &self.$field);)*
            }
        }

        /// The canonical form: absent keys are left out.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(if $form.is_canonical(&self.$field) {
                    serde::ser::SerializeMap::serialize_entry(&mut map, $key, &self.$field)?;
                })*
                serde::ser::SerializeMap::end(map)
            }
        }
    };
}

section! {
    /// An Aegis profile: what a command may do. What is not named is not granted.
    Profile: "a profile: a map of keys" {
        /// The version of this format. Always the first key, always 1.
        "aegis" aegis: Version = TheVersion, "the number 1", "required", "1";
        /// What the profile is called in reports and in the audit log.
        "name" name: String = Word(&texts::NAME), "text of one line", "the file's name without its ending", "pr-review";
        /// What the profile is for, in a sentence.
        "description" description: Option<String> = Maybe(&texts::DESCRIPTION), "text", "none", "\"Reviews pull requests\"";
        /// Profiles that this one builds on, merged in this order, before the file itself. Lists add up;
        /// a single value in this file replaces what an extended profile says.
        "extends" extends: Vec<Declared<String>> = Extends,
            "list of built-in names, and of files (with a `/` or ending in .yaml or .yml) relative to this one", "nothing", "[base]";
        /// The command that is run when none is given after `--`. Words that begin with `$SKILL`, `$WORK`, `$HOME` or `$TMP`
        /// begin with that directory.
        "run" run: Vec<String> = Run,
            "list: the program and its arguments", "the command line must give one", "[python3, $SKILL/main.py]";
        /// What becomes of words after `--`: `replace`, they are the command, in place of `run`; `append`, they are further
        /// arguments of `run`.
        "args" args: Option<Declared<Args>> = Single(&texts::ARGS), "`replace` or `append`", "replace", "append";
        /// What the command ordinarily does, as `aegis-learn` has seen: a run under `--observe` is compared with it. It grants
        /// nothing.
        "baseline" baseline: Option<Declared<BaselineFile>> = Single(&texts::BASELINE),
            "name of a file beside this one, and `sha256:` with its hash", "none",
            "skill.baseline.json sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        /// What the command may do beyond running.
        "capabilities" capabilities: Capabilities = Part::<Capabilities>::NEW;
        /// The environment of the command: empty but for what is named here.
        "environment" environment: Environment = Part::<Environment>::NEW;
        /// How much the command may use.
        "limits" limits: Limits = Part::<Limits>::NEW;
        /// Which system calls the command may make.
        "syscalls" syscalls: Syscalls = Part::<Syscalls>::NEW;
    }
    beside {
        /// Every file that took part (built-ins as `builtin:NAME`). A profile as parsed, not yet merged with
        /// what it extends, has only its own. Like origins, not part of what the profile means.
        sources: BTreeSet<Arc<str>>;
    }
}

section! {
    /// What the command may do beyond running.
    Capabilities: "a map of capabilities" {
        /// Files and directories that may be read; a directory grants everything below it. A leading
        /// `-` means: skip it where it does not exist.
        "files.read" files_read: Vec<Declared<PathSpec>> = List(&texts::READ),
            "list of paths that begin with `/`, `$SKILL`, `$WORK`, `$HOME` or `$TMP`", "nothing", "[$SKILL, -/usr/share/zoneinfo]";
        /// Directories and files that may be written, and read.
        "files.write" files_write: Vec<Declared<PathSpec>> = List(&texts::WRITE),
            "list of paths, as for `files.read`", "nothing but the private `$TMP` and home", "[$WORK/out]";
        /// Directories that may be read, and changed for this run alone: what is written goes to a layer of the sandbox's own
        /// in memory, and is gone afterwards.
        "files.overlay" files_overlay: Vec<Declared<PathSpec>> = List(&texts::READ),
            "list of paths, as for `files.read`", "nothing", "[$WORK]";
        /// What is denied inside of what is granted: files, directories with everything below them, and, after `**/`, names
        /// that are denied wherever they are below a directory (or below whatever is granted). What is there when the
        /// run starts is hidden; no other line grants it.
        "files.deny" files_deny: Vec<Declared<Denied>> = List(&texts::DENIED),
            "list of paths, as for `files.read`, and of `**/NAME` and `PATH/**/NAME`", "nothing", "[$WORK/secrets, \"**/.env\"]";
        /// Programs that may be executed, and so read. What may not be executed is not readable as a
        /// program either. A directory grants every program below it.
        "shell.exec" shell_exec: Vec<Declared<Program>> = List(&texts::PROGRAM),
            "list of program names (looked up in `PATH`) and paths", "only the command itself", "[git, -$HOME/.cargo/bin]";
        /// What may be reached over the network.
        "net.outbound" net_outbound: Outbound = Destinations,
            "`none`, `host` (the host's own network), or a list of `scheme://host[:port]` with https, http, tcp or udp", "none",
            "[\"https://api.github.com\", \"tcp://db.internal:5432\"]";
        /// TCP ports that may be listened on. With `net.outbound: host` they are the host's, at every address. Otherwise each is published: who connects
        /// to it on the host's `127.0.0.1` or `::1` reaches what listens at that port inside, at `127.0.0.1`, every address, or `::1`. (Inside, programs may
        /// listen for each other at any port without this.)
        "net.listen" net_listen: Vec<Declared<u16>> = List(&texts::PORT), "list of numbers from 1 to 65535", "none", "[8080]";
        /// Unix sockets: `private` lets programs make them, listen and connect in the sandbox's private places (`/tmp`,
        /// `/dev/shm`, the private home) and by abstract name. None of the host can be connected to. Streams and
        /// sequenced packets, not datagrams; with `net.outbound: host` no abstract names.
        "sockets" sockets: Option<Declared<Sockets>> = Single(&texts::SOCKETS), "`none` or `private`", "none", "private";
        /// Secrets that may be used, by alias. The command never holds the value: it is put in on the
        /// way out, for the bound host only.
        "secrets.use" secrets_use: BTreeMap<String, Declared<SecretUse>> = Secrets, "map of aliases", "none";
        /// Devices beyond the few that every sandbox has.
        "devices" devices: Vec<Declared<Device>> = List(&texts::DEVICE),
            "list of `gpu`, `kvm`, `pty`, and paths below /dev", "none", "[gpu]";
    }
}

section! {
    /// Where one secret may go. At least one of `header`, `query` and `env` is needed.
    SecretUse: "a map with `to`, `header`, `query`, `env`, `like` and `ttl`" {
        /// The host that the secret may be sent to, over `https`, with its port where that is not 443. The host's own `localhost` needs a
        /// port, at which `http` will do.
        "to" to: Endpoint = Word(&texts::ENDPOINT), "`host` or `host:port`", "required", "api.github.com";
        /// The header that every request to it is given, in place of one of that name, with `{}` where the value goes. None that says where
        /// a request goes or how it is read, such as `Host` or `Range`.
        "header" header: Option<String> = Maybe(&texts::HEADER), "`Name: value` with one `{}`", "none", "\"Authorization: Bearer {}\"";
        /// The parameter that the URL of every request to it is given, in place of one of that name.
        "query" query: Option<String> = Maybe(&texts::PARAMETER), "name of a parameter", "none", "api_key";
        /// The environment variable that holds a placeholder for the secret. Where the command sends that in a header, also inside of
        /// `Authorization: Basic`, or, with `query`, in the query of the URL, the value takes its place.
        "env" env: Option<String> = Maybe(&texts::VARIABLE), "name of a variable", "none", "GITHUB_TOKEN";
        /// What the placeholder looks like, with `{}` for 36 letters and digits: some programs look at how a key begins.
        "like" like: Option<String> = Maybe(&texts::LIKE), "text with one `{}`", "`{}`", "\"ghp_{}\"";
        /// How long after the start of the run it is sent.
        "ttl" ttl: Option<Declared<u64>> = Single(&texts::TIME), "number with `ms`, `s`, `m`, `h` or `d`", "as long as the run", "1h";
    }
}

section! {
    /// The environment of the command: empty but for what is named here.
    Environment: "a map with `pass` and `set`" {
        /// Variables taken over from the caller, where they are set.
        "pass" pass: Vec<Declared<String>> = List(&texts::VARIABLE), "list of names", "none", "[LANG, TERM]";
        /// Variables set to a value, which may contain `$SKILL`, `$WORK`, `$HOME` and `$TMP`. Wins over `pass`.
        "set" set: BTreeMap<String, Declared<String>> = Variables, "map of names to text", "none", "{TZ: UTC}";
    }
}

section! {
    /// Which system calls the command may make.
    Syscalls: "a map with `base`, `allow` and `deny`" {
        /// The set to start from.
        "base" base: Option<Declared<SyscallBase>> = Single(&texts::BASE),
            "`default`, `minimal`, or `learned` (nothing but what `allow` lists)", "default", "minimal";
        /// System calls added to it.
        "allow" allow: Vec<Declared<String>> = List(&texts::SYSCALL), "list of names", "none", "[personality]";
        /// System calls taken away, last.
        "deny" deny: Vec<Declared<String>> = List(&texts::SYSCALL), "list of names", "none", "[socket]";
    }
}

impl Profile {
    /// Whether it is merged with what it `extends`: true of what [`load`](crate::load()) returns, false of a
    /// profile from [`parse_str`](crate::parse_str) that extends something.
    pub fn is_merged(&self) -> bool {
        self.extends.is_empty() || self.sources.len() > 1
    }

    /// The profile as JSON, the same bytes for the same meaning. Keys are those of the file, in the
    /// order of the file format; quantities are numbers (bytes, milliseconds, thousandths of a
    /// processor). Absent keys are left out, and so is what affects neither authority nor identity:
    /// origins, `sources`, and `extends`, which is merged in.
    pub fn canonical_json(&self) -> String {
        match serde_json::to_string(self) {
            Ok(text) => text,
            Err(error) => unreachable!("a map with string keys has a JSON form: {error}"),
        }
    }

    /// Merges the profile that extends this one. Drops its own `description` and `extends`: they are about one file.
    pub(crate) fn extend_with(&mut self, later: &Self) {
        self.description = None;
        self.extends.clear();
        self.overlay_with(later);
    }

    /// Merges the values of `--set`.
    pub(crate) fn overlay_with(&mut self, later: &Self) {
        self.merge(later);
        self.sources.extend(later.sources.iter().cloned());
    }
}
