//! Completion, by the shells themselves: what they offer for a line that somebody has begun.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::{aegis, status, stdout};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// A home with the scripts, in which a shell is asked.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("a directory"));
        for shell in SHELLS {
            let script = aegis(home.path(), &["completions", shell]);
            assert_eq!(status(&script), 0, "{shell}");
            fs::write(home.path().join(shell), script.stdout).expect("a script");
        }
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path().join(name);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(file, text).expect("a file");
    }

    /// Runs a shell's script with arguments.
    fn run(&self, shell: &str, script: &str, words: &[&str]) -> Vec<String> {
        let programs = Path::new(env!("CARGO_BIN_EXE_aegis"))
            .parent()
            .expect("a directory");
        let (options, zero): (&[&str], &[&str]) = match shell {
            "bash" => (&["--norc", "--noprofile"], &["bash"]),
            "zsh" => (&["-f"], &["zsh"]),
            _ => (&["--no-config"], &[]),
        };
        let output = Command::new(shell)
            .args(options)
            .args(["-c", script])
            .args(zero)
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("a shell, installed by scripts/setup");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.is_empty(), "{shell} {words:?}: {error}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    /// What a shell offers for the last word.
    fn offers(&self, shell: &str, words: &[&str]) -> Vec<String> {
        match shell {
            "bash" => self.bash(words),
            "fish" => {
                let lines = self.run(
                    "fish",
                    "source ./fish; complete --do-complete \"$argv\"",
                    words,
                );
                let word = |line: &String| line.split('\t').next().unwrap_or_default().to_owned();
                lines.iter().map(word).collect()
            }
            _ => self.zsh(words),
        }
    }

    /// Bash calls the function with the words as it has split them: at `=` too.
    fn bash(&self, words: &[&str]) -> Vec<String> {
        let mut split = Vec::new();
        for word in words {
            let mut rest = *word;
            while let Some((before, after)) = rest.split_once('=') {
                split.extend([before, "="]);
                rest = after;
            }
            split.push(rest);
        }
        if split.len() > 1 && split.ends_with(&["=", ""]) {
            split.pop();
        }
        self.run(
            "bash",
            r#"source ./bash
               COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
               typed=${!#}; [[ $typed == = ]] && typed=
               _$1 "$1" "$typed" ""
               ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}""#,
            &split,
        )
    }

    /// Zsh completes in a terminal alone: in one that zsh makes, with the whole line replaced by what it offers.
    fn zsh(&self, words: &[&str]) -> Vec<String> {
        let line = words.join(" ");
        let lines = self.run(
            "zsh",
            r#"zmodload zsh/zpty
               zpty asked zsh -f -i
               send() { zpty -w asked "$1" }
               read_until() { local all part; while zpty -r asked part "*"; do all+=$part; [[ $all == *$1* ]] && break; done; print -r -- "$all" }
               send 'PS1= RPS1=; unset zle_bracketed_paste; autoload -U compinit; compinit -u -D; source ./zsh'
               send 'compadd() { local -a found=(); builtin compadd -O found "$@"; (( $#found )) && offered+=("${found[@]}"); builtin compadd "$@" }'
               send 'offer() { offered=(); _main_complete; print -r; print -rl -- "<<<" "${offered[@]}" ">>>"; compstate[insert]=; compstate[list]= }; zle -C offer complete-word offer; bindkey "^T" offer'
               send 'print -r -- re""ady'
               read_until ready >/dev/null
               zpty -n -w asked "$1"$'\x14'
               read_until '>>>'"#,
            &[&line],
        );
        let lines: Vec<String> = lines
            .iter()
            .map(|line| line.trim_end_matches('\r').to_owned())
            .collect();
        let begin = lines.iter().rposition(|line| line == "<<<");
        let end = lines.iter().rposition(|line| line == ">>>");
        let (Some(begin), Some(end)) = (begin, end) else {
            panic!("no answer to {line:?}: {lines:?}");
        };
        let offered = lines[begin + 1..end].iter();
        // Zsh tries again where it has found little.
        let offered: BTreeSet<&String> = offered.filter(|line| !line.is_empty()).collect();
        offered.into_iter().cloned().collect()
    }
}

#[test]
fn each_shell_completes_names_options_and_files() {
    let home = Home::new();
    home.write("pylon.yaml", "");
    home.write("pyx/skill.yaml", "");
    home.write("my.yaml", "aegis-policy: 1\ncapabilities:\n  - {id: mine, on: devices, match: gpu, verdict: allow}\n  - {id: other, on: devices, match: kvm, verdict: allow}\n");
    for shell in SHELLS {
        let has = |words: &[&str], expected: &[&str], not: &[&str]| {
            let offered = home.offers(shell, words);
            for name in expected {
                let is = |offered: &String| offered.trim_end_matches('/') == *name;
                assert!(offered.iter().any(is), "{shell} {words:?}: {offered:?}");
            }
            for name in not {
                let is = |offered: &&String| offered.contains(name);
                let found = offered.iter().find(is);
                assert_eq!(found, None, "{shell} {words:?}: {offered:?}");
            }
        };
        // Profiles, and files.
        has(
            &["aegis-run", "--profile", "py"],
            &["python", "pylon.yaml", "pyx"],
            &["--"],
        );
        has(
            &["aegis", "profile", "show", ""],
            &["python", "shell", "pylon.yaml"],
            &["--json"],
        );
        has(
            &["aegis", "profile", "diff", "shell", "git"],
            &["git"],
            &["shell"],
        );
        // Templates.
        has(
            &["aegis-run", "--policy", "st"],
            &["standard", "strict"],
            &["permissive"],
        );
        has(
            &["aegis", "policy", "explain", "st"],
            &["standard"],
            &["permissive"],
        );
        has(
            &["aegis", "policy", "new", "--template", ""],
            &["standard"],
            &["pylon"],
        );
        // Rules.
        has(
            &["aegis", "policy", "promote", "my.yaml", "m"],
            &["mine"],
            &["other", "my.yaml"],
        );
        // Subcommands and options.
        has(&["aegis", "prof"], &["profile"], &["policy"]);
        has(
            &["aegis", ""],
            &["doctor", "audit"],
            &["__complete", "pylon"],
        );
        has(&["aegis-run", "--pr"], &["--profile"], &["--quiet"]);
        // The value in the same word.
        let same = home.offers(shell, &["aegis-run", "--profile=pyt"]);
        let same: Vec<&str> = same
            .iter()
            .map(|word| word.trim_start_matches("--profile="))
            .collect();
        assert_eq!(same, ["python"], "{shell}");
    }
}

/// Of the command, the first word is a program, the others are its own.
#[test]
fn the_command_of_aegis_run_is_completed_as_elsewhere() {
    let home = Home::new();
    home.write("report.txt", "");
    for shell in SHELLS {
        let program = home.offers(shell, &["aegis-run", "--profile", "shell", "gre"]);
        assert!(
            program.iter().any(|word| word.ends_with("grep")),
            "{shell}: {program:?}"
        );
        let argument = home.offers(shell, &["aegis-run", "--quiet", "cat", "rep"]);
        assert!(
            argument.iter().any(|word| word == "report.txt"),
            "{shell}: {argument:?}"
        );
    }
}

/// What the directory holds is listed by the shell alone: nothing in it is opened, runs, or steers the terminal.
#[test]
fn nothing_that_was_prepared_does_harm() {
    let home = Home::new();
    let made = Command::new("mkfifo")
        .arg(home.path().join("py.yaml"))
        .status();
    assert!(made.expect("mkfifo").success());
    home.write("py$(touch harm)", "");
    let odd = home.path().join(std::ffi::OsStr::from_bytes(b"py\x1b[2Jx"));
    fs::write(odd, "").expect("a file");
    // A rule cannot be looked for in a pipe, and nothing waits for one.
    for shell in SHELLS {
        let rules = home.offers(shell, &["aegis", "policy", "promote", "./py.yaml", "x"]);
        assert!(rules.is_empty(), "{shell}: {rules:?}");
        let files = home.offers(shell, &["aegis-run", "--profile", "py"]);
        assert!(
            files.iter().any(|file| file == "python"),
            "{shell}: {files:?}"
        );
        assert!(!home.path().join("harm").exists(), "{shell}");
    }
    // A name that a skill's profile has given itself is no command of the shell's, whatever it ends with.
    let named = home.run(
        "bash",
        r#"source ./bash
           aegis() { printf 'nothing\nx$(touch harm)=\n'; }
           COMP_WORDS=(aegis approvals revoke --profile x) COMP_CWORD=4
           _aegis aegis x ""
           printf '%s\n' "${COMPREPLY[@]}""#,
        &[],
    );
    assert_eq!(named, [r"x\$\(touch\ harm\)="]);
    // What bash puts on the line is quoted by readline, which is told that these are files.
    let script = fs::read_to_string(home.path().join("bash")).expect("a script");
    assert!(script.contains("compopt -o filenames"));
    // Names that the program prints have nothing in them that steers a terminal.
    let own = aegis(home.path(), &["__complete", "aegis-run", "--profile", "py"]);
    assert_eq!(stdout(&own), "files\npython\n");
}

#[test]
fn each_program_is_installed_with_its_completion() {
    let page = include_str!("../../docs/guide.md");
    let install = page.split("\n## ").find(|part| part.starts_with("Install"));
    let install = install.expect("the section");
    let programs = aegis_cli::options::programs();
    let others = programs.iter().map(clap::Command::get_name);
    for program in others.chain(["aegis"]) {
        for said in [format!("`{program}`"), format!("/completions/{program}\n")] {
            assert!(install.contains(&said), "{said}");
        }
    }
}
