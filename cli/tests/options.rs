//! What `aegis-run` says of its options and what it does with them are the same.

use std::ffi::OsString;

use aegis_cli::options;
use aegis_cli::run::args::{self, Args, Explain, Invocation, OPTIONS, Takes};

/// The help as clap renders it. `AEGIS_BLESS=1` writes it to where `aegis-run` has it from.
#[test]
fn the_help_of_aegis_run_is_what_clap_makes_of_its_options() {
    let rendered = options::aegis_run().render_help().to_string();
    aegis_tests::assert_committed("src/run/help.txt", &rendered);
}

#[test]
fn both_parsers_know_the_same_options() {
    let mut command = options::aegis_run();
    command.build();
    let mut described: Vec<(&str, Takes)> = command
        .get_opts()
        .chain(command.get_arguments().filter(|arg| !arg.is_positional()))
        .filter_map(|arg| {
            let takes = match arg.get_num_args() {
                Some(range) if !range.takes_values() => Takes::Nothing,
                Some(range) if range.min_values() == 0 => Takes::Perhaps,
                _ => Takes::Value,
            };
            Some((arg.get_long()?, takes))
        })
        .collect();
    described.sort_by_key(|(name, _)| *name);
    described.dedup();
    assert_eq!(described, OPTIONS);
    for (name, _) in OPTIONS {
        assert!(
            aegis_cli::run::HELP.contains(&format!("--{name}")),
            "--{name} is not in the help"
        );
    }
}

/// What clap understands of the same words.
fn by_clap(words: &[&str]) -> Option<Args> {
    let all = std::iter::once("aegis-run").chain(words.iter().copied());
    let matches = options::aegis_run().try_get_matches_from(all).ok()?;
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    Some(Args {
        policy: text("policy"),
        audit: text("audit").map(Into::into),
        profile: text("profile"),
        report: text("report").map(Into::into),
        explain: text("explain").map(|format| match &*format {
            "json" => Explain::Json,
            _ => Explain::Text,
        }),
        set: matches
            .get_many::<String>("set")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        keep_fds: matches
            .get_many::<i32>("keep-fd")
            .into_iter()
            .flatten()
            .copied()
            .collect(),
        quiet: matches.get_flag("quiet"),
        command: matches
            .get_many::<OsString>("command")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
    })
}

fn by_aegis(words: &[&str]) -> Option<Args> {
    match args::parse(words.iter().map(OsString::from)) {
        Ok(Invocation::Run(args)) => Some(*args),
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
