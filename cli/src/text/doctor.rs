//! `aegis doctor`: a line for each layer; below it, what is wrong and how to fix it.

use std::fmt::Write;

use aegis_runtime::doctor::{Check, Report, Status};

use super::page::painted;

pub(crate) fn text(report: &Report, colour: bool) -> String {
    let mut out = String::new();
    let checks = &report.checks;
    let width = checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or(0);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "Linux {}, user {}", report.kernel, report.user);
    for (index, check) in checks.iter().enumerate() {
        let mark = match check.status {
            Status::Ok => painted(colour, "32", "✓"),
            Status::Degraded => painted(colour, "33", "~"),
            Status::Missing => painted(colour, "31", "✗"),
        };
        let _ = writeln!(out, "  {mark} {:width$}  {}", check.name, check.what);
        // Neighbouring checks that fail for the same reason are explained once, below the last.
        if checks
            .get(index + 1)
            .is_some_and(|next| reason(next) == reason(check))
        {
            continue;
        }
        for (label, text) in [("why", &check.why), ("fix", &check.fix)] {
            for (index, line) in text.iter().flat_map(|text| text.lines()).enumerate() {
                let label = if index == 0 { label } else { "" };
                let _ = writeln!(out, "      {label:4}  {line}");
            }
        }
    }
    let _ = writeln!(out, "{}", summary(checks));
    out
}

fn reason(check: &Check) -> (Option<&str>, Option<&str>) {
    (check.why.as_deref(), check.fix.as_deref())
}

fn summary(checks: &[Check]) -> String {
    let count = |status: Status| checks.iter().filter(|check| check.status == status).count();
    match (count(Status::Degraded), count(Status::Missing)) {
        (0, 0) => "aegis-run can enforce everything for this user.".into(),
        (degraded, missing) => format!(
            "aegis-run cannot enforce everything for this user: {missing} missing, {degraded} degraded."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_fail_for_one_reason_are_explained_once() {
        let check = |name, status, why: Option<&str>| Check {
            name,
            status,
            what: "what".into(),
            why: why.map(str::to_owned),
            fix: why.map(|_| "one\ntwo".into()),
        };
        let report = Report {
            kernel: "6.12.0".into(),
            user: 1000,
            checks: vec![
                check("landlock", Status::Ok, None),
                check("memory", Status::Degraded, Some("because")),
                check("disk", Status::Missing, Some("because")),
            ],
        };
        assert!(!report.complete());
        let wanted = "\
Linux 6.12.0, user 1000
  ✓ landlock  what
  ~ memory    what
  ✗ disk      what
      why   because
      fix   one
            two
aegis-run cannot enforce everything for this user: 1 missing, 1 degraded.
";
        assert_eq!(text(&report, false), wanted);
        assert!(text(&report, true).contains("  \x1b[31m✗\x1b[0m disk "));
    }
}
