//! Prints, as Markdown, the result of every attack without a sandbox, in bubblewrap and firejail with
//! their usual flags, and under Aegis: the table of `docs/escapes.md`. Needs root.
//!
//! `escape-table [TEXT]`: only the attacks with this text in their description; with all details.

use std::path::Path;

use aegis_tests::attacks::{self, Around, AttackResult, Control};
use aegis_tests::{ORDINARY, USERS, User, host};

fn word(outcome: &AttackResult) -> &'static str {
    match outcome {
        AttackResult::GotOut(_) => "**got out**",
        AttackResult::Held => "held",
        AttackResult::Broken(_) => "not tried",
    }
}

/// One cell: the results for root and for the ordinary user, merged if they agree.
fn cell(outcomes: &[AttackResult]) -> String {
    let words: Vec<_> = outcomes.iter().map(word).collect();
    if words.iter().all(|one| *one == words[0]) {
        words[0].to_owned()
    } else {
        format!("{} / {}", words[0], words[1])
    }
}

fn main() {
    // Firejail wants its user to have an account.
    let accounts = std::fs::read_to_string("/etc/passwd").expect("accounts");
    let with_user = tempfile::NamedTempFile::new().expect("a temporary file");
    let line = format!("aegis-tests:x:{ORDINARY}:{ORDINARY}::/nonexistent:/bin/sh\n");
    std::fs::write(&with_user, accounts + &line).expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&with_user, mode).expect("chmod");
    host::in_private_mounts(|| {
        host::bind(with_user.path(), Path::new("/etc/passwd"));
        table();
    });
}

fn table() {
    let filter = std::env::args().nth(1);
    println!("| item | what is tried | nothing | bubblewrap | firejail | Aegis | by |");
    println!("|---|---|---|---|---|---|---|");
    let mut notes = Vec::new();
    for attack in attacks::all() {
        if filter
            .as_ref()
            .is_some_and(|text| !attack.what.contains(text.as_str()))
        {
            continue;
        }
        let attempts = |around| -> Vec<AttackResult> {
            USERS
                .map(|user: User| attack.attempt(around, user))
                .to_vec()
        };
        let ways = [
            Around::Bare,
            Around::Bubblewrap,
            Around::Firejail,
            Around::Aegis,
        ]
        .map(attempts);
        let [bare, bubblewrap, firejail, aegis] = ways.each_ref().map(|outcomes| cell(outcomes));
        println!(
            "| {} | {} | {bare} | {bubblewrap} | {firejail} | {aegis} | {} |",
            attack.item, attack.what, attack.held_by
        );
        if let (true, why) = (!attack.known.0.is_empty(), attack.known.1) {
            notes.push(format!("- {}: known, {why}.", attack.what));
        }
        if let Control::None(why) = attack.control {
            notes.push(format!("- {}: no control, since {why}.", attack.what));
        }
        if filter.is_some() {
            eprintln!("{ways:#?}");
        }
    }
    if !notes.is_empty() {
        println!("\n{}", notes.join("\n"));
    }
}
