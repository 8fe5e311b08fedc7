//! `aegis audit export`: the log for other programs.

use aegis_audit::log::{Error, Line};
use aegis_audit::ocsf;
use clap::ValueEnum;

use super::{Answer, Failure, Filter, Out, Place, tell};

/// A form to export in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::aegis) enum Format {
    /// The log's own lines
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework
    Ocsf,
}

pub(super) fn export(log: &Place, filter: &Filter, format: Format, host: Option<&str>) -> Answer {
    let named = host.map(str::to_owned).unwrap_or_else(|| {
        let system = rustix::system::uname();
        system.nodename().to_string_lossy().into_owned()
    });
    let mut out = Out::new();
    let mut reader = log.reader()?;
    let mut right = true;
    while let Some(line) = reader.next_line() {
        match line.and_then(|line| exported(&line, filter, format, &named)) {
            Ok(None) => {}
            Ok(Some(Err(what))) => return Err(Failure::Other(what)),
            Ok(Some(Ok(bytes))) => {
                if !out.write(&bytes)? {
                    return Ok(right);
                }
            }
            Err(error) => {
                out.flush()?;
                tell(&error);
                right = false;
            }
        }
    }
    out.flush()?;
    Ok(right)
}

/// A line in that form; `None` of one that was not asked for.
fn exported(
    line: &Line<'_>,
    filter: &Filter,
    format: Format,
    host: &str,
) -> Result<Option<Result<Vec<u8>, String>>, Error> {
    let record = line.record()?;
    if !filter.takes(&record) {
        return Ok(None);
    }
    let mut bytes = match format {
        Format::Jsonl => {
            let head = format!("{{\"hash\":\"{}\",\"record\":", line.hash);
            [head.as_bytes(), line.record, b"}"].concat()
        }
        Format::Ocsf => match ocsf::event(&record, host) {
            Ok(event) => event.to_string().into_bytes(),
            Err(error) => return Ok(Some(Err(error.to_string()))),
        },
    };
    bytes.push(b'\n');
    Ok(Some(Ok(bytes)))
}
