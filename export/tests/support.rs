//! Profiles compiled for this host.

use std::path::Path;
use std::process::Command;

use aegis_export::{Compiled, Error, Export, Format, Host, export};
use aegis_profile::{Files, Profile};
use aegis_runtime::facts::{self, Inputs};
use aegis_runtime::plan::{self, Plan};

/// A profile, with what it was compiled to.
pub struct Case {
    pub profile: Profile,
    pub plan: Plan,
    pub host: Host,
}

impl Case {
    /// The profile of a text, which begins after `aegis: 1`.
    pub fn of(text: &str) -> Self {
        Self::running(text, &["/bin/true"])
    }

    /// The same for a command.
    pub fn running(text: &str, command: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("skill.yaml");
        std::fs::write(&file, format!("aegis: 1\n{text}")).expect("write");
        let loaded = aegis_profile::load(file.to_str().expect("UTF-8"), &Files);
        let profile = loaded
            .unwrap_or_else(|error| panic!("{text}\n{error}"))
            .profile;
        let inputs = Inputs {
            command: command.iter().map(Into::into).collect(),
            may_be_missing: ["disk-read", "disk-write"].map(str::to_owned).into(),
            ..Inputs::default()
        };
        let facts = facts::gather(&profile, Some(directory.path()), &inputs).expect("facts");
        let plan = plan::compile(&profile, &inputs, &facts);
        let plan = plan.unwrap_or_else(|error| panic!("{text}\n{error}"));
        let host = Host::of(&plan, facts.links().cloned().collect()).expect("a host");
        Self {
            profile,
            plan,
            host,
        }
    }

    pub fn compiled(&self) -> Compiled<'_> {
        Compiled {
            profile: &self.profile,
            plan: &self.plan,
            host: &self.host,
        }
    }

    pub fn try_export(&self, format: Format) -> Result<Export, Error> {
        export(format, &self.compiled(), None)
    }

    pub fn export(&self, format: Format) -> Export {
        self.try_export(format).expect("an export")
    }

    /// Its text without comments.
    pub fn directives(&self, format: Format) -> String {
        let export = self.export(format);
        let lines = text(&export);
        lines
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

pub fn text(export: &Export) -> &str {
    export.text.to_str().expect("UTF-8")
}

/// What a program says, which has to end well.
#[track_caller]
pub fn said(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: scripts/setup installs it"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}",
        output.status
    );
    said
}

/// A path as a profile has it.
pub fn quoted(path: &Path) -> String {
    let path = path.to_str().expect("UTF-8");
    let mut out = String::new();
    for c in path.chars() {
        if "*?[]{}\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    serde_json::to_string(&out).expect("JSON")
}
