//! The functions that rules in Rego have.
#![cfg(feature = "rego")]

use aegis_policy::model::Verdict;

use crate::rego::says;
use crate::support::rego::https;

#[test]
fn functions_that_rules_have_do_what_they_say() {
    let holds = [
        "concat(\", \", [\"a\", \"b\"]) == \"a, b\"",
        "concat(\"\", {\"b\", \"a\"}) == \"ab\"",
        "contains(\"abc\", \"b\")",
        "count({1, 2}) == 2",
        "endswith(\"abc\", \"c\")",
        "is_array([])",
        "is_boolean(true)",
        "is_null(null)",
        "is_number(1)",
        "is_object({})",
        "is_set({1})",
        "is_string(\"\")",
        "lower(\"AbC\") == \"abc\"",
        "max([1, 3, 2]) == 3",
        "min([1, 3, 2]) == 1",
        "net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\")",
        "not net.cidr_contains(\"10.0.0.0/8\", \"11.1.2.3\")",
        "net.cidr_is_valid(\"10.0.0.0/8\")",
        "object.get({\"a\": 1}, \"a\", 2) == 1",
        "object.get(input.what, \"method\", \"none\") == \"none\"",
        "regex.match(`^[a-z]+\\.example\\.org$`, input.what.host)",
        "not regex.match(`^x`, input.what.host)",
        "regex.match(`(?i)^A\\.(EXAMPLE|sample)\\b`, input.what.host)",
        "regex.match(`^\\w+.[^x]é$`, \"ab-yé\")",
        "regex.match(`\\(?u`, \"u\")",
        "split(\"a.b.c\", \".\") == [\"a\", \"b\", \"c\"]",
        "sprintf(\"%s %d %v %v 100%%\", [\"a\", 1, true, \"b\"]) == \"a 1 true b 100%\"",
        "startswith(\"abc\", \"a\")",
        "sum([1, 2, 3]) == 6",
        "trim_prefix(\"abc\", \"a\") == \"bc\"",
        "trim_space(\" a \") == \"a\"",
        "trim_suffix(\"abc\", \"c\") == \"ab\"",
        "type_name(1) == \"number\"",
        "upper(\"AbC\") == \"ABC\"",
        "3 * input.what.port == 1329",
        "input.what.port % 2 == 1",
        "input.what.port - 1 == 442",
        "{1, 2} & {2, 3} == {2}",
        "{1} | {2} == {1, 2}",
        "{1, 2} - {2} == {1}",
        "every x in [1, 2] { x > 0 }",
        "input.what.host in {\"a.example.org\"}",
    ];
    for condition in holds {
        let text = format!("package aegis\nallow contains \"holds\" if {{ {condition} }}");
        let (verdict, _, reason) = says(&text, https("a.example.org"));
        assert_eq!(verdict, Verdict::Allow, "{condition}: {reason}");
    }
}
