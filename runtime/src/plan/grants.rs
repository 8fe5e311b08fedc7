//! The grants: turns the declared paths and programs, and the command itself, into host paths
//! to mount, links to recreate, and Landlock rules.
//!
//! `/usr` is mounted whole, read-only, once anything in it is granted: it is the same on every
//! host, and Landlock, not the mount, says which of its files may be read and executed. Every
//! other grant is a mount of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use aegis_profile::{Origin, PathSpec, Profile, Program, Variable};

use super::Grant;
use super::access::{Access, rights};
use super::granted::Granted;
use super::own_places::own_place;
use crate::error::Error;
use crate::facts::denied::Found;
use crate::facts::paths::{Kind, Resolved};
use crate::facts::{self, HostFacts, Inputs, Lookup, mounts};
use crate::types::paths::{above, is_below};
use crate::types::{Fault, GrantOrigin, Network, PathMap};

/// The name of a program, if its directory is one that only root fills: what is called `git` there
/// is git.
fn by_name(name: &str, found_at: &Path) -> Option<String> {
    let directory = found_at.parent()?;
    facts::DEFAULT_PATH
        .split(':')
        .any(|system| Path::new(system) == directory)
        .then(|| name.to_owned())
}

/// See the module's documentation.
pub(super) fn compile(
    profile: &Profile,
    request: &Inputs,
    facts: &HostFacts,
    network: Network,
) -> Result<Granted, Error> {
    let usr = facts.paths.get(OsStr::new("/usr"));
    let is_systems =
        |usr: &&Resolved| usr.links.is_empty() && usr.uid == 0 && usr.mode & 0o022 == 0;
    let home = &facts.host.caller.home;
    let writable = profile.capabilities.files_write.iter().filter_map(|item| {
        let path = facts::expand(&item.value, facts.skill.as_deref(), &facts.work, home)?;
        Some(
            facts
                .paths
                .get(path.as_os_str())?
                .as_ref()
                .ok()?
                .real
                .as_path(),
        )
    });
    let mut compiler = Compiler {
        request,
        facts,
        writable: writable.collect(),
        usr: usr.and_then(|found| found.as_ref().ok()).filter(is_systems),
        granted: Granted {
            binds: PathMap::default(),
            links: PathMap::default(),
            hidden: PathMap::default(),
            executable_tmp: None,
            rules: PathMap::default(),
            grants: Vec::new(),
        },
    };
    let capabilities = &profile.capabilities;
    for item in &capabilities.files_read {
        compiler.path(&item.value, &item.origin, Access::Read)?;
    }
    for item in &capabilities.files_write {
        compiler.path(&item.value, &item.origin, Access::Write)?;
    }
    for item in &capabilities.files_overlay {
        compiler.path(&item.value, &item.origin, Access::Overlay)?;
    }
    for item in &capabilities.shell_exec {
        match &item.value {
            Program::Path(spec) => compiler.path(spec, &item.origin, Access::Exec)?,
            Program::Name { name, optional } => compiler.program(name, *optional, &item.origin)?,
        }
    }
    compiler.command()?;
    compiler.protect_what_the_host_acts_upon();
    for link in &facts.root_links {
        compiler.granted.add_link(link);
    }
    if network == Network::Host
        && let Some(Ok(found)) = facts.paths.get(OsStr::new("/etc/resolv.conf"))
    {
        compiler.grant(found, Access::Read, None, GrantOrigin::HostNetwork);
    }
    compiler.hide();
    compiler.granted.prune();
    compiler.granted.pin_passed(&request.passed);
    compiler.granted.pin_parents();
    Ok(compiler.granted)
}

/// The one of `own` that a path leads to, lies in or contains.
fn overlapping<'p>(own: &'p [PathBuf], found: &Resolved) -> Option<&'p Path> {
    let tree = found.kind == Kind::Directory;
    let leads = |own: &&PathBuf| is_below(&found.real, own) || (tree && is_below(own, &found.real));
    own.iter().find(leads).map(PathBuf::as_path)
}

/// A grant of what another line denies: left out where it is optional.
fn denied_too(
    denied: &str,
    found: &Resolved,
    optional: bool,
    origin: &Origin,
    what: String,
) -> Result<(), Error> {
    if optional {
        return Ok(());
    }
    Err(Error::Grant {
        origin: origin.clone(),
        what,
        reason: format!("{} is denied by {denied}", found.real.display()),
        help: "remove one of the two: what is denied is not granted by another line".into(),
    })
}

struct Compiler<'a> {
    request: &'a Inputs,
    facts: &'a HostFacts,
    /// `/usr`, if it is the system's: a directory that root owns and nobody else may write.
    usr: Option<&'a Resolved>,
    /// What is declared writable, free of links.
    writable: Vec<&'a Path>,
    granted: Granted,
}

impl<'a> Compiler<'a> {
    fn path(&mut self, spec: &PathSpec, origin: &Origin, kind: Access) -> Result<(), Error> {
        if spec.base == Some(Variable::Tmp) {
            // The private directory exists and is writable, whatever is declared in it.
            if kind == Access::Exec {
                let what = kind.what(Path::new(facts::TMP), true, None);
                self.granted.grants.push(Grant::new(what, origin));
                self.granted
                    .executable_tmp
                    .get_or_insert_with(|| origin.clone());
            }
            return Ok(());
        }
        let key = match kind {
            Access::Read => "files.read",
            Access::Write => "files.write",
            Access::Overlay => "files.overlay",
            Access::Exec => "shell.exec",
        };
        let fail = |reason: String, help: &str| Error::Grant {
            origin: origin.clone(),
            what: format!("{key}: {spec}"),
            reason,
            help: help.into(),
        };
        let facts = self.facts;
        let home = &facts.host.caller.home;
        let Some(path) = facts::expand(spec, facts.skill.as_deref(), &facts.work, home) else {
            return Err(fail(
                "there is no $SKILL: this profile is not a file".into(),
                "use a profile file, or name the path",
            ));
        };
        let found = match facts.paths.get(path.as_os_str()) {
            Some(Ok(found)) => found,
            Some(Err(Fault::Missing(_) | Fault::NotADirectory(_))) if spec.optional => {
                return Ok(());
            }
            // A user's built-in profile may name what only root may look at: treated as absent.
            Some(Err(Fault::Denied(_))) if spec.optional => return Ok(()),
            Some(Err(fault @ Fault::Missing(_))) => {
                return Err(fail(
                    fault.to_string(),
                    &format!(
                        "only what is there can be granted: make it before the run, or write `-{spec}`, which is skipped while it is missing"
                    ),
                ));
            }
            Some(Err(fault @ (Fault::LinkLeaves { .. } | Fault::ForeignLink { .. }))) => {
                return Err(fail(
                    fault.to_string(),
                    "a program in a sandbox could have made this link: declare the path that it leads to",
                ));
            }
            Some(Err(fault)) => {
                return Err(fail(
                    fault.to_string(),
                    "name a path that this user can reach",
                ));
            }
            None => {
                return Err(fail(
                    "it was not looked up".into(),
                    "report this as a bug of Aegis",
                ));
            }
        };
        if found.real == Path::new("/") && spec.optional {
            // `-$WORK` of a run that was started in `/`.
            return Ok(());
        }
        if let Some(mount) = mounts::of(&found.real, &facts.mounts)
            && mount.is_of_the_kernel()
            && !own_place(&found.real)
        {
            return Err(fail(
                format!("{} is the {} of the host", mount.at.display(), mount.kind),
                "name files: what the kernel shows of the host is not granted",
            ));
        }
        if found.real == Path::new("/") || own_place(&found.real) {
            return Err(fail(
                format!("it leads to {}", found.real.display()),
                "the sandbox has its own there; name what you need below it",
            ));
        }
        if let (Access::Write, Some(own)) = (kind, overlapping(&self.request.unwritable, found)) {
            return Err(fail(
                format!(
                    "it would allow writing to {}, which decides about the next run",
                    own.display()
                ),
                "name a path that neither contains it nor lies in it, or keep the policy elsewhere",
            ));
        }
        if kind == Access::Write && self.request.kept.contains(&found.real) {
            return Err(fail(
                "it is the profile in force, or what that extends".into(),
                "remove it: what a run may do is not for the run to say",
            ));
        }
        if kind == Access::Overlay && found.kind != Kind::Directory {
            return Err(fail(
                format!("{} is not a directory", found.real.display()),
                "name the directory that it lies in",
            ));
        }
        let within =
            |mount: &&mounts::Mount| mount.at != found.real && is_below(&mount.at, &found.real);
        if kind == Access::Overlay
            && let Some(mount) = facts.mounts.iter().find(within)
        {
            return Err(fail(
                format!(
                    "{} is mounted in it, and an overlay is of one file system",
                    mount.at.display()
                ),
                "name the directories that lie beside that mount",
            ));
        }
        if kind == Access::Overlay && self.writable.contains(&&*found.real) {
            return Err(fail(
                "`files.write` names it too".into(),
                "remove one of the two: what is written either reaches the host or does not",
            ));
        }
        if let Some(denied) = self.denied(&found.real) {
            let what = format!("{key}: {spec}");
            return denied_too(&denied, found, spec.optional, origin, what);
        }
        if let Some(own) = overlapping(&self.request.reserved, found) {
            return Err(fail(
                format!(
                    "it would give access to {}, which is Aegis's own",
                    own.display()
                ),
                "name a path that neither contains it nor lies in it: a command must not reach its own records",
            ));
        }
        self.grant(found, kind, None, origin);
        Ok(())
    }

    fn program(&mut self, name: &str, optional: bool, origin: &Origin) -> Result<(), Error> {
        let fail = |reason: String| Error::Grant {
            origin: origin.clone(),
            what: format!("shell.exec: {name}"),
            reason,
            help: format!(
                "install it, name its path, or write `-{name}` to skip it when it is not there"
            ),
        };
        match self.facts.programs.get(name) {
            Some(Lookup::Found { path, resolved }) => {
                if let Some(denied) = self.denied(&resolved.real) {
                    let what = format!("shell.exec: {name}");
                    return denied_too(&denied, resolved, optional, origin, what);
                }
                let name = by_name(name, path);
                self.grant(resolved, Access::Exec, name, origin);
                Ok(())
            }
            Some(Lookup::Unusable(_) | Lookup::Absent) | None if optional => Ok(()),
            Some(Lookup::Unusable(fault)) => Err(fail(fault.to_string())),
            Some(Lookup::Absent) | None => {
                Err(fail("no directory of the sandbox's PATH has it".into()))
            }
        }
    }

    /// The command's own file, and the interpreters that its first line names: granted with it.
    fn command(&mut self) -> Result<(), Error> {
        let command = &self.facts.command;
        for found in [&command.resolved].into_iter().chain(&command.interpreters) {
            if let Some(own) = overlapping(&self.request.reserved, found) {
                return Err(Error::OwnPlace {
                    name: found.real.clone(),
                    own: own.to_owned(),
                });
            }
            if let Some(denied) = self.denied(&found.real) {
                return Err(Error::CommandNotExecutable {
                    name: found.real.clone().into(),
                    reason: format!("it is denied by {denied}"),
                });
            }
        }
        let name = command.path.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| by_name(name, &command.path));
        self.grant(&command.resolved, Access::Exec, name, GrantOrigin::Command);
        for interpreter in &command.interpreters {
            let from = GrantOrigin::FirstLine(command.resolved.real.clone());
            self.grant(interpreter, Access::Exec, None, from);
        }
        Ok(())
    }

    fn grant(
        &mut self,
        found: &Resolved,
        kind: Access,
        name: Option<String>,
        from: impl Into<GrantOrigin>,
    ) {
        self.granted.add_links(found);
        let tree = found.kind == Kind::Directory;
        let what = kind.what(&found.real, tree, name);
        self.granted.grants.push(Grant::new(what, from));
        let write = kind == Access::Write;
        let overlay = kind == Access::Overlay;
        let exec = kind == Access::Exec;
        *self
            .granted
            .rules
            .entry(found.real.clone().into())
            .or_default() |= rights(tree, write || overlay, exec);
        if let (false, Some(usr)) = (write || overlay, self.usr)
            && is_below(&found.real, Path::new("/usr"))
            && !self.writable.iter().any(|tree| is_below(&found.real, tree))
        {
            self.granted.bind(usr, false, true);
            return;
        }
        self.granted.bind(found, write, exec).overlay |= overlay;
    }

    /// The line that denies a path, if one does.
    fn denied(&self, path: &Path) -> Option<String> {
        let denies = |found: &&Found| {
            found
                .there
                .iter()
                .any(|denied| is_below(path, &denied.real))
        };
        let found = self.facts.denied.iter().find(denies)?;
        Some(format!(
            "{} (files.deny: {})",
            found.item.origin, found.item.value
        ))
    }

    /// Hides what is denied in what is granted.
    fn hide(&mut self) {
        let found = self.facts.denied.iter();
        let each =
            found.flat_map(|found| found.there.iter().map(move |denied| (denied, &found.only)));
        for (denied, only) in each {
            let path = &denied.real;
            self.granted
                .binds
                .retain(|bind, _| !is_below(Path::new(bind), path));
            if self.granted.covers(path) {
                self.granted
                    .hidden
                    .insert(path.clone().into(), (denied.clone(), only.contains(path)));
            }
        }
        let hidden = self.granted.hidden.clone();
        // What lies in a hidden directory is hidden with it.
        (self.granted.hidden).retain(|path, _| above(&hidden, Path::new(path)).is_none());
    }

    /// Makes the files that the host's own programs act upon later read-only in writable trees.
    fn protect_what_the_host_acts_upon(&mut self) {
        for target in &self.facts.plantable.present {
            let declared = self.granted.binds.get(target.real.as_os_str());
            if declared.is_some_and(|bind| bind.write) {
                continue; // Declared as writable.
            }
            let exec = declared.is_some_and(|bind| bind.exec);
            self.granted.pin(target.clone(), false, exec);
        }
    }
}
