//! How long it takes to have the templates ready to decide: run it with `--release`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::hint::black_box;
use std::time::Instant;

use aegis_policy::{Policy, load};
use aegis_profile::Files;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for name in ["strict", "standard", "permissive"] {
        let mut times = Vec::new();
        let mut reading = Vec::new();
        for _ in 0..1000 {
            let start = Instant::now();
            let document = load::load(name, &Files)?;
            reading.push(start.elapsed());
            black_box(Policy::new(vec![document])?);
            times.push(start.elapsed());
        }
        let (first, first_read) = (times[0], reading[0]);
        times.sort();
        reading.sort();
        println!(
            "{name}: first {first:?} (of it reading {first_read:?}), median {:?} (reading {:?}), 99% {:?}",
            times[500], reading[500], times[990]
        );
    }
    Ok(())
}
