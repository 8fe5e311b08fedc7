//! `aegis doctor`: what `aegis_runtime::doctor` found on this host, printed.

use std::io;

use serde_json::json;

use super::{Answer, print_bytes, print_json};
use crate::terminal::colour;
use crate::text;

pub(super) fn doctor(as_json: bool) -> Answer {
    let report = aegis_runtime::doctor::examine();
    if as_json {
        print_json(&json!({
            "complete": report.complete(),
            "kernel": report.kernel,
            "user": report.user,
            "checks": report.checks,
        }))?;
    } else {
        print_bytes(text::doctor::text(&report, colour(&io::stdout())).as_bytes())?;
    }
    Ok(report.complete())
}
