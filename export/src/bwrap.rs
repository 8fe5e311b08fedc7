//! A script for `sh` that starts a command by bubblewrap: `bwrap(1)`, version 0.8 or later.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use aegis_profile::LimitKey;
use aegis_runtime::facts::devices;
use aegis_runtime::plan::Op;
use aegis_runtime::types::Network;

use crate::error::Error;
use crate::keys::Key;
use crate::model::{Compiled, Effect, Loss};
use crate::quote::{Text, comment};
use crate::view;
use crate::view::{ANEW, OVERLAY};

/// What `sh` can give a number to. 9 is the filter's.
const DESCRIPTORS: std::ops::Range<usize> = 3..9;

pub(crate) fn export(
    compiled: &Compiled<'_>,
    program: Option<&Path>,
) -> Result<(OsString, Vec<Loss>), Error> {
    let plan = compiled.plan;
    let losses = compiled.losses(|key, lose| lost(key, compiled, program.is_some(), lose));
    let mut out = Script::default();
    out.line(&format!(
        "#!/bin/sh\n# The profile {}, exported by aegis for bubblewrap.",
        comment(&plan.profile)
    ));
    for loss in &losses {
        out.line(&format!("# {}", comment(&loss.to_string())));
    }
    out.bytes.extend(b"exec");
    let identity = &plan.identity;
    let (uid, gid) = (identity.uid.to_string(), identity.gid.to_string());
    if identity.switch {
        // bwrap maps the user inside to whoever starts it: that must not be root.
        out.option(&[
            "setpriv",
            "--reuid",
            &uid,
            "--regid",
            &gid,
            "--clear-groups",
        ]);
    }
    out.option(&[
        "bwrap",
        "--die-with-parent",
        "--unshare-user",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-uts",
        "--unshare-cgroup",
    ]);
    if plan.network.is_private() {
        out.option(&["--unshare-net"]);
    }
    out.option(&[
        "--uid",
        &uid,
        "--gid",
        &gid,
        "--cap-drop",
        "ALL",
        "--hostname",
        &plan.hostname,
    ]);
    match program {
        Some(_) => out.option(&["--seccomp", "9"]),
        // A terminal's input could be written, and namespaces made.
        None => out.option(&["--new-session", "--disable-userns"]),
    }
    environment(&mut out, compiled)?;
    let files = root(&mut out, compiled)?;
    out.words("the working directory", &["--chdir"], [&plan.directory])?;
    out.words("the command", &["--"], [plan.program.as_os_str()])?;
    for argument in plan.argv.iter().skip(1) {
        out.word("the argument", argument)?;
    }
    if let Some(program) = program {
        out.words("the file of the filter", &["9<"], [program])?;
    }
    out.here(&files);
    Ok((OsString::from_vec(out.bytes), losses))
}

#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
}

impl Script {
    fn line(&mut self, line: &str) {
        self.bytes.extend(line.as_bytes());
        self.bytes.push(b'\n');
    }

    /// Words of our own, on a line of their own.
    fn option(&mut self, words: &[&str]) {
        if !self.bytes.ends_with(b"exec") {
            self.bytes.extend(b" \\\n ");
        }
        self.bytes.push(b' ');
        self.bytes.extend(words.join(" ").as_bytes());
    }

    fn word(
        &mut self,
        what: &'static str,
        word: &(impl AsRef<OsStr> + ?Sized),
    ) -> Result<(), Error> {
        self.bytes.push(b' ');
        self.bytes.extend(Text::new(what, word).shell()?);
        Ok(())
    }

    /// Words of our own, then others'.
    fn words<W: AsRef<OsStr>>(
        &mut self,
        what: &'static str,
        own: &[&str],
        words: impl IntoIterator<Item = W>,
    ) -> Result<(), Error> {
        self.option(own);
        words
            .into_iter()
            .try_for_each(|word| self.word(what, &word))
    }

    /// The contents of files, one after another from the first descriptor.
    fn here(&mut self, files: &[&str]) {
        let ends: Vec<String> = files.iter().map(|text| end(text)).collect();
        for (number, end) in DESCRIPTORS.zip(&ends) {
            self.option(&[&format!("{number}<<'{end}'")]);
        }
        self.bytes.push(b'\n');
        for (text, end) in files.iter().zip(&ends) {
            self.bytes.extend(text.as_bytes());
            if !text.ends_with('\n') {
                self.bytes.push(b'\n');
            }
            self.line(end);
        }
    }
}

/// A line that a text does not have.
fn end(text: &str) -> String {
    let mut end = String::from("END");
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    end
}

fn environment(out: &mut Script, compiled: &Compiled<'_>) -> Result<(), Error> {
    let (passed, set) = view::environment(compiled);
    out.option(&["--clearenv"]);
    for (name, value) in set {
        out.words("the variable", &["--setenv"], [name, value])?;
    }
    for name in passed {
        // Nothing where it is not set.
        out.option(&[&format!("${{{name}+--setenv {name} \"${name}\"}}")]);
    }
    Ok(())
}

/// The root, and the contents of files that are made in it.
fn root<'p>(out: &mut Script, compiled: &Compiled<'p>) -> Result<Vec<&'p str>, Error> {
    let plan = compiled.plan;
    let path = "the path";
    let shown = view::all(plan);
    let has_pty = plan.root.iter().any(|made| made.op == Op::Pseudoterminals);
    let modes = |at: &Path| {
        plan.root.iter().find_map(|made| match made.op {
            Op::Directory { mode } if made.at == at => Some(format!("{mode:04o}")),
            _ => None,
        })
    };
    if has_pty {
        // There is no other way to pseudo-terminals of its own.
        out.option(&["--dev", "/dev"]);
    }
    let size = plan.root.size().to_string();
    for made in plan
        .root
        .iter()
        .filter(|made| matches!(made.op, Op::Private { .. }))
    {
        let mode = modes(&made.at).unwrap_or_else(|| "0700".into());
        out.words(
            path,
            &["--size", &size, "--perms", &mode, "--tmpfs"],
            [&made.at],
        )?;
    }
    let mut files = Vec::new();
    for made in plan.root.iter() {
        let of_dev = has_pty && made.at.starts_with("/dev");
        match &made.op {
            Op::File { text, mode } if DESCRIPTORS.len() > files.len() => {
                let (mode, number) = (
                    format!("{mode:04o}"),
                    (DESCRIPTORS.start + files.len()).to_string(),
                );
                files.push(text.as_str());
                out.words(path, &["--perms", &mode, "--file", &number], [&made.at])?;
            }
            Op::Device { path: node, .. } if !(of_dev && devices::is_always_there(node)) => {
                out.words(path, &["--dev-bind"], [node, &made.at])?;
            }
            Op::Proc => out.words(path, &["--proc"], [&made.at])?,
            _ => {}
        }
    }
    for shown in &shown {
        let bind = if shown.write { "--bind" } else { "--ro-bind" };
        out.words(path, &[bind], [&shown.source, &shown.at])?;
    }
    for (at, target) in view::links(compiled, &shown) {
        if !(has_pty && at.starts_with("/dev")) {
            out.words(path, &["--symlink"], [&target, &at])?;
        }
    }
    for (at, is_directory) in &compiled.host.hidden {
        match is_directory {
            true => {
                out.words(path, &["--perms", "0000", "--tmpfs"], [at])?;
                out.words(path, &["--remount-ro"], [at])?;
            }
            // Not to be opened: a device on a mount without devices.
            false => out.words(path, &["--ro-bind", "/dev/null"], [at])?,
        }
    }
    if has_pty {
        out.option(&["--remount-ro", "/dev"]);
    }
    out.option(&["--remount-ro", "/"]);
    Ok(files)
}

fn lost(key: Key, compiled: &Compiled<'_>, filtered: bool, lose: &mut dyn FnMut(Effect, String)) {
    use Effect::{Narrower, Wider};
    let Compiled { plan, profile, .. } = compiled;
    match key {
        Key::Sandbox => {
            lose(Wider, "/proc is writable as far as the kernel lets its user, and shows the kernel's own figures, which a sandbox masks; core dumps go where the host sends them".into());
            if plan.identity.switch {
                lose(Narrower, "started by root, the script becomes the sandbox's user outside too: files that are root's alone cannot be read or written".into());
            }
            if !filtered {
                lose(Narrower, "it has no terminal: a filter (--seccomp) would keep it from writing a terminal's input".into());
            }
        }
        Key::Run => {
            if plan.argv.first().is_none_or(|name| name != plan.program.as_os_str()) {
                lose(Narrower, "the command's own name is the path of its program".into());
            }
        }
        Key::Read => {}
        Key::Write => lose(Wider, ANEW.into()),
        Key::Overlay => lose(Narrower, OVERLAY.into()),
        Key::Denied => lose(Wider, "what is there now is hidden, not what is made later under such a name: export again".into()),
        Key::Exec => lose(Wider, "whatever may be read may be executed, where its permission bits say so, and so may what is written, and programs out of memory (memfd_create)".into()),
        Key::Outbound => {}
        Key::Listen if plan.network == Network::Host => lose(Wider, "any port may be listened on".into()),
        Key::Listen => {}
        Key::Sockets => match filtered {
            true => lose(Narrower, compiled.unattended().into()),
            false => lose(Wider, "Unix sockets in what is shown can be connected to; in the host's network, by abstract name too".into()),
        },
        Key::Devices => {
            if plan.root.iter().any(|made| made.op == Op::Pseudoterminals) {
                lose(Wider, "pty: /dev/tty and /dev/console come with it".into());
            }
        }
        Key::Environment => lose(Wider, "PWD is set".into()),
        Key::Limit(limit) => limited(limit, lose),
        Key::MustHold => lose(Wider, "no limit is held".into()),
        Key::Syscalls if filtered => {}
        Key::Syscalls => lose(Wider, format!("no system call is refused: --seccomp FILE writes the filter of {} for bwrap", comment(&profile.name))),
    }
}

fn limited(limit: LimitKey, lose: &mut dyn FnMut(Effect, String)) {
    let what = match limit {
        LimitKey::Tmp => "each of /tmp, /dev/shm and the private home may hold as much",
        LimitKey::Net => return,
        LimitKey::Time
        | LimitKey::Memory
        | LimitKey::Cpu
        | LimitKey::Pids
        | LimitKey::Files
        | LimitKey::FileSize
        | LimitKey::DiskRead
        | LimitKey::DiskWrite
        | LimitKey::Output => "bwrap limits nothing: start it by systemd-run, prlimit or timeout",
    };
    lose(Effect::Wider, what.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_is_no_line_of_it() {
        assert_eq!(end("a\nEND\nEND_\n"), "END__");
        assert_eq!(end(" END\n"), "END");
    }
}
