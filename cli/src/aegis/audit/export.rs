//! `aegis audit export`: the log for other programs.

use aegis_audit::log::Line;
use aegis_audit::ocsf;
use clap::ValueEnum;

use super::{Answer, Filter, Out, Place};

/// A form to export in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::aegis) enum Format {
    /// The log's own lines
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework
    Ocsf,
}

pub(super) fn export(log: &Place, filter: &Filter, format: Format, host: Option<String>) -> Answer {
    let host = host.unwrap_or_else(|| {
        let system = rustix::system::uname();
        system.nodename().to_string_lossy().into_owned()
    });
    let mut reader = log.reader()?;
    let all = std::iter::from_fn(|| {
        let line = reader.next_line()?.map_err(|error| error.to_string());
        Some(line.and_then(|line| exported(&line, filter, format, &host)))
    });
    Out::new().all(all.filter_map(Result::transpose))
}

/// A line in that form; `None` of one that was not asked for.
fn exported(
    line: &Line<'_>,
    filter: &Filter,
    format: Format,
    host: &str,
) -> Result<Option<String>, String> {
    let record = line.record().map_err(|error| error.to_string())?;
    if !filter.takes(&record) {
        return Ok(None);
    }
    let text = match format {
        Format::Jsonl => {
            let text = std::str::from_utf8(line.record).map_err(|error| error.to_string())?;
            format!("{{\"hash\":\"{}\",\"record\":{text}}}\n", line.hash)
        }
        Format::Ocsf => match ocsf::event(&record, host) {
            Ok(event) => format!("{event}\n"),
            Err(error) => return Err(error.to_string()),
        },
    };
    Ok(Some(text))
}
