//! The documented options of `aegis-run` are the ones that it accepts.

use std::ffi::OsString;

use aegis_cli::options::AegisRun;
use aegis_cli::run::args::{self, Args, Explain, Invocation};
use aegis_launch::{Declaration, Launch, Reference};
use aegis_runtime::types::StdioMode;
use clap::{CommandFactory as _, Parser as _};

/// The help as clap renders it. `AEGIS_BLESS=1` writes it to the file that `aegis-run` prints.
#[test]
fn the_help_of_aegis_run_is_what_clap_makes_of_its_options() {
    let rendered = AegisRun::command().render_help().to_string();
    aegis_tests::assert_committed("src/run/help.txt", &rendered);
}

#[test]
fn aegis_run_knows_each_option_that_it_describes() {
    let mut command = AegisRun::command();
    command.build();
    for name in command.get_arguments().filter_map(|arg| arg.get_long()) {
        let known = args::parse([format!("--{name}").into()]);
        let unknown = known.is_err_and(|error| error.contains("there is no option"));
        assert!(!unknown, "--{name}");
    }
}

/// How clap parses the same words.
fn by_clap(words: &[&str]) -> Option<String> {
    let words = std::iter::once("aegis-run").chain(words.iter().copied());
    let read = AegisRun::try_parse_from(words).ok()?;
    let asked = Declaration::Profile {
        reference: read.profile.map_or(Reference::Default, Reference::Named),
        set: read.set,
        command: read.command,
        stdio: match read.stdio.as_deref() {
            Some("relay") => StdioMode::Relay,
            _ => StdioMode::Inherit,
        },
        keep_fds: read.keep_fds,
    };
    let launch = Launch {
        policy: read.policy,
        audit: read.audit.map(Into::into),
        report: read.report.map(Into::into),
        observation: read.record.map(Into::into),
        own_process: true,
        ..Launch::new(asked)
    };
    let args = Args {
        launch,
        explain: read.explain.map(|format| match &*format {
            "json" => Explain::Json,
            _ => Explain::Text,
        }),
        quiet: read.quiet,
    };
    Some(format!("{args:?}"))
}

fn by_aegis(words: &[&str]) -> Option<String> {
    match args::parse(words.iter().map(OsString::from)) {
        Ok(Invocation::Run(mut args)) => {
            args.launch.log_is_locked = None;
            Some(format!("{args:?}"))
        }
        _ => None,
    }
}

/// All command lines of up to three of these words.
#[test]
fn both_parsers_understand_the_same() {
    let words = [
        "--profile",
        "--profile=a",
        "--report=-",
        "--explain",
        "--explain=json",
        "--explain=no",
        "--set",
        "--set=k=v",
        "--keep-fd=3",
        "--stdio",
        "--stdio=relay",
        "--stdio=none",
        "--keep-fd=x",
        "--keep-fd=-1",
        "--quiet",
        "--quiet=1",
        "--",
        "ls",
        "-l",
        "--policy",
        "--audit=x",
        "--frobnicate",
        "",
    ];
    let mut lines: Vec<Vec<&str>> = vec![vec![]];
    for length in 1..=3 {
        let longest: Vec<Vec<&str>> = lines
            .iter()
            .filter(|line| line.len() == length - 1)
            .cloned()
            .collect();
        for line in longest {
            for word in words {
                lines.push(line.iter().copied().chain([word]).collect());
            }
        }
    }
    for line in lines {
        assert_eq!(by_aegis(&line), by_clap(&line), "{line:?}");
    }
}
