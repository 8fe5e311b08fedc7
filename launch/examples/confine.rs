//! Runs a command confined, from Rust: `cargo run --package aegis-launch --example confine -- skill.yaml ls`.

use aegis_launch::{Error, Event, FrontEnd, Launch, Options, RunEvent};

/// Prints denials while the command runs.
struct Tell;

impl FrontEnd for Tell {
    fn event(&mut self, event: &Event) {
        if let Event::Run(RunEvent::Denied(denial)) = event {
            eprintln!("confine: denied by {}: {}", denial.layer, denial.what);
        }
    }
}

fn run(profile: String, command: Vec<String>) -> Result<u8, Error> {
    let mut tell = Tell;
    let prepared = Launch::profile(profile, command).prepare(&mut tell)?;
    let mut session = prepared.decide()?.start(Options::default())?;
    while session.poll(&mut [], None).is_running() {}
    Ok(session.finish()?.exit_status)
}

fn main() {
    let mut words = std::env::args().skip(1);
    let profile = words.next().unwrap_or_else(|| "base".into());
    let status = run(profile, words.collect()).unwrap_or_else(|error| {
        eprintln!("confine: {error}");
        error.exit_status()
    });
    std::process::exit(status.into());
}
