//! A custom front end: it builds the root from operations, and tells the command about denials while
//! it runs. `front-end WORK PROGRAM WORD...`: PROGRAM is executed with `/usr`, the directory WORK (writable, as
//! `/work`), a small tmpfs (`/scratch`) and the descriptor `$DENIALS`, which gets a line for each denial.

use std::io::{PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use aegis_launch::{Event, FrontEnd, Launch, Options, RunEvent};
use aegis_runtime::facts::{self, paths};
use aegis_runtime::plan::{self, Op, Spec};

/// Passes denials on to the command.
struct Tell(PipeWriter);

impl FrontEnd for Tell {
    fn event(&mut self, event: &Event) {
        if let Event::Run(RunEvent::Denied(denial)) = event {
            println!("denied by {}: {}", denial.layer, denial.what);
            let _ = writeln!(self.0, "{}", denial.what);
        }
    }
}

fn run(
    work: &Path,
    program: PathBuf,
    words: Vec<String>,
) -> Result<u8, Box<dyn std::error::Error>> {
    let host = facts::host();
    let found = |path: &Path| {
        let trust = paths::Trust {
            uid: host.caller.uid,
            ..Default::default()
        };
        paths::resolve(path, &trust).map_err(|fault| format!("{}: {fault}", path.display()))
    };
    let (usr, work) = (found(Path::new("/usr"))?, found(work)?);
    let identity = plan::identity(&host, (work.uid, work.gid));
    let directory = |at: &str| Op::Directory { mode: 0o755 }.at(at);
    let symlink = |at: &str, target: &str| {
        Op::Symlink {
            target: target.into(),
        }
        .at(at)
    };
    let (denials, tell) = std::io::pipe()?;
    let mut spec = Spec::new("front-end", program, identity);
    spec.operations = vec![
        Op::Tmpfs {
            size: 16 << 20,
            mode: 0o755,
        }
        .at("/"),
        directory("/usr"),
        directory("/dev"),
        Op::MountPoint.at("/dev/null"),
        directory("/proc"),
        directory("/scratch"),
        directory("/work"),
        symlink("/bin", "usr/bin"),
        symlink("/lib", "usr/lib"),
        symlink("/lib64", "usr/lib64"),
        Op::File {
            text: "from operations\n".into(),
            mode: 0o444,
        }
        .at("/motd"),
        Op::Device {
            path: "/dev/null".into(),
            name: None,
        }
        .at("/dev/null"),
        Op::Proc.at("/proc"),
        Op::Tmpfs {
            size: 1 << 20,
            mode: 0o777,
        }
        .at("/scratch"),
        Op::Bind {
            source: usr.host_path(&spec.identity, false),
            write: false,
            exec: true,
            overlay: false,
        }
        .at("/usr"),
        Op::Bind {
            source: work.host_path(&spec.identity, true),
            write: true,
            exec: false,
            overlay: false,
        }
        .at("/work"),
    ];
    spec.argv.extend(words.into_iter().map(Into::into));
    spec.directory = "/work".into();
    spec.keep_fds = vec![denials.as_raw_fd()];
    let number = denials.as_raw_fd().to_string();
    spec.set = [("DENIALS".into(), number.into())].into();

    let mut tell = Tell(tell);
    let permitted = Launch::operations(spec).prepare(&mut tell)?.decide()?;
    let mut session = permitted.start(Options::default())?;
    while session.poll(&mut [], None).is_running() {}
    Ok(session.finish()?.exit_status)
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(work), Some(program)) = (words.next(), words.next()) else {
        eprintln!("front-end: usage: front-end WORK PROGRAM WORD...");
        std::process::exit(2);
    };
    match run(Path::new(&work), program.into(), words.collect()) {
        Ok(status) => std::process::exit(status.into()),
        Err(error) => {
            eprintln!("front-end: {error}");
            std::process::exit(125);
        }
    }
}
