//! Prints, as Markdown, the result of every attack without a sandbox, in bubblewrap with its
//! usual flags, and under Aegis: the table of `docs/escapes.md`. Needs root.
//!
//! `escape-table [TEXT]`: only the attacks with this text in their description; with all details.

use aegis_tests::attacks::{self, Around, AttackResult, Control};
use aegis_tests::{USERS, User};

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
    let filter = std::env::args().nth(1);
    println!("| item | what is tried | nothing | bubblewrap | Aegis | by |");
    println!("|---|---|---|---|---|---|");
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
        let ways = [Around::Bare, Around::Bubblewrap, Around::Aegis].map(attempts);
        let [bare, bubblewrap, aegis] = ways.each_ref().map(|outcomes| cell(outcomes));
        println!(
            "| {} | {} | {bare} | {bubblewrap} | {aegis} | {} |",
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
