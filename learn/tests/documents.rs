//! The tables of `docs/learning.md` are those of the code. To write them anew: `AEGIS_BLESS=1 cargo test -p aegis-learn`.

use std::fmt::Write as _;

use aegis_learn::{EQUIVALENT, HEADROOM, Rule};

/// The page, with what is between two marks replaced.
fn replaced(page: &str, name: &str, text: &str) -> String {
    let (start, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (before, rest) = page.split_once(&start).expect("its start");
    let (_, after) = rest.split_once(&end).expect("its end");
    format!("{before}{start}{text}{end}{after}")
}

fn rules() -> String {
    let mut table = "| rule | what it does |\n|---|---|\n".to_owned();
    for rule in Rule::ALL {
        writeln!(table, "| {} | {} |", rule.name(), rule.does()).unwrap();
    }
    table
}

fn limits() -> String {
    let mut table = "| limit | times what was measured | at least |\n|---|---|---|\n".to_owned();
    for row in HEADROOM {
        writeln!(
            table,
            "| `{}` | {} | {} |",
            row.limit,
            row.times,
            row.limit.show(row.least)
        )
        .unwrap();
    }
    table
}

fn calls() -> String {
    EQUIVALENT.iter().fold(String::new(), |mut list, group| {
        writeln!(list, "- {}", group.join(", ")).unwrap();
        list
    })
}

#[test]
fn the_page_has_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/learning.md");
    let page = std::fs::read_to_string(path).unwrap();
    let tables = [("rules", rules()), ("limits", limits()), ("calls", calls())];
    let wanted = tables.iter().fold(page.clone(), |page, (name, table)| {
        replaced(&page, name, table)
    });
    if std::env::var_os("AEGIS_BLESS").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/learning.md is out of date: run this test with AEGIS_BLESS=1"
    );
}
