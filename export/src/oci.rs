//! A seccomp profile for container engines, as the OCI runtime specification has it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;

use aegis_runtime::seccomp::{Action, Arch, Condition, Op, SyscallRule};
use serde::Serialize;

use crate::cubes::{self, Cube};
use crate::error::Error;
use crate::keys::Key;
use crate::model::{Compiled, Effect, Loss};

/// A call with more sets of arguments than this would make the filter longer than the kernel takes.
const MOST: usize = 128;
/// A refusal for more than this many is left to the default.
const MOST_REFUSED: usize = 64;

#[derive(Serialize)]
struct Entry<'n> {
    names: Vec<&'n str>,
    #[serde(flatten)]
    action: Written,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Written {
    action: &'static str,
    #[serde(rename = "errnoRet", skip_serializing_if = "Option::is_none")]
    errno: Option<u16>,
}

#[derive(Serialize)]
struct Argument {
    index: usize,
    /// With `SCMP_CMP_MASKED_EQ`: the mask.
    value: u64,
    #[serde(rename = "valueTwo")]
    value_two: u64,
    op: &'static str,
}

fn written(action: Action) -> Result<Written, Error> {
    match action {
        Action::Allow => Ok(Written {
            action: "SCMP_ACT_ALLOW",
            errno: None,
        }),
        Action::Errno(errno) => Ok(Written {
            action: "SCMP_ACT_ERRNO",
            errno: Some(errno),
        }),
        Action::KillProcess => Ok(Written {
            action: "SCMP_ACT_KILL_PROCESS",
            errno: None,
        }),
        Action::Notify => Err(Error::Filter(
            "a call is left to a supervisor, which a container engine is not".into(),
        )),
    }
}

fn arguments(cube: &Cube) -> Vec<Argument> {
    let compared = cube.iter().enumerate().filter(|(_, bits)| bits.mask != 0);
    let argument = |(index, bits): (usize, &cubes::Bits)| Argument {
        index,
        value: bits.mask,
        value_two: bits.value,
        op: "SCMP_CMP_MASKED_EQ",
    };
    compared.map(argument).collect()
}

/// What may be done to any process but PID 1 may be done to the caller alone.
fn own_process(rule: &SyscallRule) -> SyscallRule {
    let mut rule = rule.clone();
    for arm in &mut rule.arms {
        if let [condition] = &mut *arm.when
            && condition.op == Op::Eq(1)
        {
            *condition = Condition::int(condition.arg(), Op::Ne(0));
        }
    }
    rule
}

fn is_large(sets: &[(Action, Vec<Cube>)]) -> bool {
    sets.iter()
        .any(|(action, cubes)| *action == Action::Allow && cubes.len() > MOST)
}

pub(crate) fn export(compiled: &Compiled<'_>) -> Result<(OsString, Vec<Loss>), Error> {
    let filter = compiled.filter()?;
    let mut plain: BTreeMap<Written, Vec<&str>> = BTreeMap::new();
    let (mut narrowed, mut entries) = (Vec::new(), Vec::new());
    for (number, rule) in filter.rules.iter() {
        let Some(name) = filter.arch.name(number) else {
            continue;
        };
        if rule.arms.is_empty() {
            if rule.otherwise != filter.default {
                plain
                    .entry(written(rule.otherwise)?)
                    .or_default()
                    .push(name);
            }
            continue;
        }
        let mut sets = cubes::of(rule);
        if is_large(&sets) {
            narrowed.push(name);
            sets = cubes::of(&own_process(rule));
        }
        for (action, cubes) in sets {
            if action == filter.default || (action != Action::Allow && cubes.len() > MOST_REFUSED) {
                continue;
            }
            for cube in &cubes {
                entries.push(Entry {
                    names: vec![name],
                    action: written(action)?,
                    args: arguments(cube),
                });
            }
        }
    }
    let plain = plain.into_iter().map(|(action, names)| Entry {
        names,
        action,
        args: Vec::new(),
    });
    let entries = plain.chain(entries).map(|entry| json(&entry));
    let default = written(filter.default)?;
    let arch = match filter.arch {
        Arch::X86_64 => "SCMP_ARCH_X86_64",
        Arch::Aarch64 => "SCMP_ARCH_AARCH64",
    };
    let text = format!(
        "{{\n\"defaultAction\": {},\n\"defaultErrnoRet\": {},\n\"architectures\": [{}],\n\"syscalls\": [\n{}\n]\n}}\n",
        json(&default.action),
        json(&default.errno),
        json(&arch),
        entries.collect::<Vec<_>>().join(",\n"),
    );
    let losses = compiled.losses(|key, lose| lost(key, compiled, &narrowed, lose));
    Ok((text.into(), losses))
}

fn json(value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(text) => text,
        Err(error) => unreachable!("it has string keys and whole numbers only: {error}"),
    }
}

fn lost(
    key: Key,
    compiled: &Compiled<'_>,
    narrowed: &[&str],
    lose: &mut dyn FnMut(Effect, String),
) {
    let what: Cow<'_, str> = match key {
        Key::Sandbox => "root, namespaces, capabilities, no_new_privs: the engine's; give it --read-only --cap-drop=ALL --security-opt=no-new-privileges, and a user that is not root".into(),
        Key::Run => "give the command to the engine".into(),
        Key::Overlay => "what is written to it stays, where the engine lets it be written: give it a volume of its own".into(),
        Key::Read | Key::Write => "every file of the container may be used: make the image hold no other, mount what is granted (--volume PATH:PATH:ro), and make the rest read-only (--read-only)".into(),
        Key::Denied => "what is denied is not hidden: do not mount it, or mount something else over it".into(),
        Key::Exec => "every program of the container may be executed, and programs out of memory (memfd_create)".into(),
        Key::Outbound => "the container's network may be reached: close it with --network=none".into(),
        Key::Listen => "any port may be listened on: publish only those that are granted".into(),
        Key::Sockets => {
            lose(Effect::Narrower, compiled.unattended().into());
            "where Unix sockets are allowed at all, each that is in the container can be connected to".into()
        }
        Key::Devices => "the engine decides which devices there are (--device)".into(),
        Key::Environment => "the engine and the image decide what is in it (--env)".into(),
        Key::Limit(limit) => format!("no {limit} is limited by a filter of system calls: use the engine's own limits").into(),
        Key::MustHold => "the engine decides what becomes of a limit that the host cannot hold".into(),
        Key::Syscalls => {
            lose(
                Effect::Narrower,
                "a refused call whose arguments were looked at may fail with ENOSYS in place of its own error; the profile is for one architecture, and calls of others end the program".into(),
            );
            if !narrowed.is_empty() {
                let names = narrowed.join(", ");
                lose(Effect::Narrower, format!("{names}: for the calling process (pid 0) alone"));
            }
            return;
        }
    };
    lose(Effect::Wider, what.into_owned());
}
