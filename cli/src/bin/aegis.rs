//! `aegis`: the host, profiles, completions, manual pages.

fn main() {}
