//! The network: item 20 of `docs/escapes.md`, as far as `none` and `host` go.

use aegis_tests::attacks::all_held;

#[test]
fn nothing_is_reached_without_a_grant_and_only_plain_sockets_are_made() {
    all_held(20);
}
