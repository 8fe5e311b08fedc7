//! Any text on standard error is read; what it leads to looks at nothing but the system's own files, and proposes lines that
//! load and grant one thing each.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use aegis_runtime::facts::{self, Inputs};
use aegis_runtime::plan::{Plan, compile};
use aegis_runtime::supervise::denials::attribute;
use aegis_runtime::supervise::SystemFile;
use libfuzzer_sys::fuzz_target;

const PROFILE: &str = "aegis: 1\nextends: [base]\nrun: [/usr/bin/env]\n\
                       capabilities: {files.read: [$WORK], shell.exec: [/usr/bin/env]}\n";

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let profile = aegis_profile::parse_str(PROFILE, "fuzz.yaml").expect("a profile");
        let inputs = Inputs::default();
        let facts = facts::gather(&profile, None, &inputs).expect("facts");
        compile(&profile, &inputs, &facts).expect("a plan")
    })
}

fuzz_target!(|text: &[u8]| {
    let system = |path: &Path| {
        assert!(path.starts_with("/usr"), "{path:?}");
        let program = path.as_os_str().len() % 2 == 0;
        let real = path.to_path_buf();
        (path.as_os_str().len() % 3 != 0).then_some(SystemFile { real, program })
    };
    let (denials, _) = attribute(text, plan(), &system);
    for line in denials.iter().filter_map(|denial| denial.allow.as_ref()) {
        let profile = aegis_profile::parse_str(&format!("aegis: 1\n{line}\n"), "line.yaml");
        let profile = profile.unwrap_or_else(|error| panic!("{line}: {error}"));
        let granted = &profile.capabilities;
        let host = matches!(granted.net_outbound, aegis_profile::Outbound::Host(_));
        let items = granted.files_read.len()
            + granted.files_write.len()
            + granted.shell_exec.len()
            + profile.syscalls.allow.len()
            + usize::from(host);
        assert_eq!(items, 1, "{line}");
    }
});
