//! The index of a template as a Rust source file: it is the same at every start of a sandbox, and so is a
//! constant.

use std::fmt::Write;

use super::paths::Forest;
use super::{Claim, Span};

const HEAD: &str = "\
//! The index of the template `standard`, as it is made of its rules.
//!
//! Written by a test from policy/templates/standard.yaml: AEGIS_BLESS=1 cargo test -p aegis-policy

use std::borrow::Cow::Borrowed;

use super::super::pattern::Base::{self, *};
use super::names::{Bytes, Entry, Length, Pool, Table};
use super::paths::{Forest, Node};
use super::{Actions, Claim, Span};

const fn s(from: u32, to: u32) -> Span { Span { from, to } }
const fn c(rule: u32, on: u16) -> Claim { Claim { rule, on: Actions(on) } }
const fn e(number: u64, text: Span, value: u32) -> Entry { Entry { number, text, value } }
const fn l(length: u32, entries: Span) -> Length { Length { length, entries } }
const fn n(next: u32, any: u32, ends: Span, below: Span) -> Node { Node { next, any, ends, below } }

";

/// The file.
pub(in super::super) fn of(forest: &Forest) -> String {
    let span = |Span { from, to }: &Span| format!("s({from},{to})");
    let claim = |Claim { rule, on }: &Claim| format!("c({rule},{})", on.0);
    let pool = &forest.pool;
    let mut out = HEAD.to_owned();
    writeln!(out, "const TEXT: &str = {:?};", &*pool.text).unwrap();
    list(&mut out, "ENTRIES: &[Entry]", &pool.entries, |entry| {
        format!("e({},{},{})", entry.number, span(&entry.text), entry.value)
    });
    list(&mut out, "LENGTHS: &[Length]", &pool.lengths, |length| {
        format!("l({},{})", length.length, span(&length.entries))
    });
    list(&mut out, "TABLES: &[Table]", &forest.tables, |table| {
        format!(
            "Table{{exact:{},exact_firsts:Bytes({}),ends:{},ends_lasts:Bytes({}),begins:{},begins_firsts:Bytes({}),other:{}}}",
            span(&table.exact),
            table.exact_firsts.0,
            span(&table.ends),
            table.ends_lasts.0,
            span(&table.begins),
            table.begins_firsts.0,
            span(&table.other)
        )
    });
    list(&mut out, "NODES: &[Node]", &forest.nodes, |node| {
        let (ends, below) = (span(&node.ends), span(&node.below));
        format!("n({},{},{ends},{below})", node.next, node.any)
    });
    list(&mut out, "CLAIMS: &[Claim]", &forest.claims, claim);
    list(&mut out, "LOUD: &[Claim]", &forest.loud, claim);
    list(
        &mut out,
        "PLACES: &[(Base, u32)]",
        &forest.places,
        |(base, root)| format!("({base:?},{root})"),
    );
    out += "\npub(in super::super) const fn index() -> Forest {\n    Forest {\n";
    out += "        pool: Pool { text: Borrowed(TEXT), entries: Borrowed(ENTRIES), lengths: Borrowed(LENGTHS) },\n";
    out += "        tables: Borrowed(TABLES), nodes: Borrowed(NODES), claims: Borrowed(CLAIMS), loud: Borrowed(LOUD),\n";
    writeln!(
        out,
        "        places: Borrowed(PLACES), names: {},\n    }}\n}}",
        forest.names
    )
    .unwrap();
    out
}

/// A constant, in lines of some width.
fn list<T>(out: &mut String, head: &str, items: &[T], show: impl Fn(&T) -> String) {
    write!(out, "const {head} = &[").unwrap();
    let mut width = usize::MAX;
    for item in items {
        let text = show(item);
        if width.saturating_add(text.len()) > 118 {
            *out += "\n";
            width = 0;
        }
        width += text.len() + 1;
        *out += &text;
        *out += ",";
    }
    *out += "\n];\n";
}
