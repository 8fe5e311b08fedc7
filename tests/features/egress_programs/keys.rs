//! Keys as tools send them: in Basic, in the query, with a prefix that the tool looks at; and texts that only speak of one.

use serde_json::Value;

use super::stand::{Stand, on_stand};

const VALUE: &str = "ghp_the-true-value/+=of.the.key";

/// A policy under which the secret `key` may be put into requests to one host, and those to the other are looked into as well.
const POLICY: &str = "network-egress: [{id: all, hosts: [web.test, other.test], methods: [GET, POST], verdict: allow}]
secrets-boundary: [{id: key, alias: key, to: web.test, inject: [header, query], verdict: allow}]";

const SITES: &[&str] = &["https://web.test", "https://other.test"];

/// Runs a script with a secret of this form in `$KEY`. Returns what the site was asked, and what was printed.
fn with_key(stand: &Stand, form: &str, script: &str) -> (Vec<Value>, String) {
    let more = format!(", secrets.use: {{key: {{to: web.test, {form}}}}}");
    let ran = stand.run(POLICY, SITES, &more, script);
    ran.exits(0);
    let told = ran.told();
    assert!(!told.contains(VALUE), "{told}");
    (stand.asked(), ran.printed())
}

/// What the site had in a header of the first request.
fn header<'v>(asked: &'v [Value], name: &str) -> &'v str {
    asked[0]["headers"][name].as_str().unwrap_or_default()
}

/// The value in Basic, as a server decodes it.
fn basic(value: &str) -> String {
    let script =
        "import base64, sys; print(base64.b64decode(sys.argv[1].split()[1]).decode(), end=\"\")";
    let mut python = std::process::Command::new("/usr/bin/python3");
    let output = python.args(["-c", script, value]).output();
    String::from_utf8(output.expect("python3 starts").stdout).expect("text")
}

#[test]
fn a_token_with_a_prefix_is_looked_at_and_sent_as_a_bearer() {
    on_stand(|stand| {
        stand.secret("key", VALUE);
        // As tools that look at it first.
        let script = "case $KEY in ghp_*) ;; *) exit 9;; esac; curl -sS -o /dev/null -H \"Authorization: token $KEY\" https://web.test/";
        let (asked, _) = with_key(stand, "env: KEY, like: \"ghp_{}\"", script);
        assert_eq!(header(&asked, "authorization"), format!("token {VALUE}"));
    });
}

/// As git and docker send it: `user:token`, of which only base64 is seen.
#[test]
fn a_token_is_put_into_basic() {
    on_stand(|stand| {
        stand.secret("key", VALUE);
        let script = "curl -sS -o /dev/null -u \"me:$KEY\" https://web.test/";
        let (asked, _) = with_key(stand, "env: KEY", script);
        assert_eq!(
            basic(header(&asked, "authorization")),
            format!("me:{VALUE}")
        );
    });
}

#[test]
fn a_token_is_put_into_the_query() {
    on_stand(|stand| {
        stand.secret("key", VALUE);
        let script = "curl -sS -o /dev/null \"https://web.test/v1?a=b&key=$KEY&c=d\"";
        let (asked, _) = with_key(stand, "env: KEY, query: key", script);
        let path = asked[0]["path"].as_str().expect("a path");
        let script =
            "import sys, urllib.parse as u; print(u.parse_qs(u.urlsplit(sys.argv[1]).query))";
        let mut python = std::process::Command::new("/usr/bin/python3");
        let output = python
            .args(["-c", script, path])
            .output()
            .expect("it starts");
        let expected = format!("{{'a': ['b'], 'c': ['d'], 'key': ['{VALUE}']}}\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    });
}

/// git sends nothing before it is asked: the header is set all the same, in place of what a program says.
#[test]
fn a_header_is_set_on_every_request_in_place_of_what_was_there() {
    on_stand(|stand| {
        stand.secret("key", VALUE);
        let script = "curl -sS -o /dev/null https://web.test/; curl -sS -o /dev/null -H 'X-Key: mine' https://web.test/; curl -sS -o /dev/null https://other.test/";
        let (asked, _) = with_key(stand, "header: \"X-Key: {}\"", script);
        let keys: Vec<_> = asked
            .iter()
            .map(|asked| &asked["headers"]["x-key"])
            .collect();
        assert_eq!(
            keys,
            [&Value::from(VALUE), &Value::from(VALUE), &Value::Null]
        );
    });
}

/// Agents send whole conversations, which quote what is in the environment. The body is the program's, byte for byte.
#[test]
fn a_conversation_that_quotes_a_placeholder_is_sent_as_it_is() {
    on_stand(|stand| {
        stand.secret("key", VALUE);
        let script = "echo $KEY; curl -sS -H \"Authorization: Bearer $KEY\" --json \"{\\\"said\\\": \\\"export KEY=$KEY\\\"}\" https://web.test/v1/messages > answer; curl -sS --json \"{\\\"said\\\": \\\"$KEY\\\"}\" https://other.test/ > answer";
        let (asked, printed) = with_key(stand, "env: KEY", script);
        let placeholder = printed.trim();
        assert!(placeholder.len() > 20, "{printed}");
        assert_eq!(header(&asked, "authorization"), format!("Bearer {VALUE}"));
        let body = format!("{{\"said\": \"export KEY={placeholder}\"}}");
        assert_eq!(asked[0]["body"], body);
        assert_eq!(
            asked[0]["headers"]["content-length"],
            body.len().to_string()
        );
        let body = format!("{{\"said\": \"{placeholder}\"}}");
        assert_eq!(asked[1]["body"], body);
    });
}

/// In a header or an address to another host it is not sent at all.
#[test]
fn what_stands_for_a_key_is_not_sent_to_another_host() {
    on_stand(|stand| {
        stand.secret("key", VALUE);
        let script = "code() { curl -sS -o /dev/null -w '%{http_code} ' \"$@\"; }
code -H \"Authorization: Bearer $KEY\" https://other.test/; code -u \"me:$KEY\" https://other.test/; code \"https://other.test/?k=$KEY\"; code https://other.test/";
        let (asked, printed) = with_key(stand, "env: KEY", script);
        assert_eq!(printed, "403 403 403 200");
        assert_eq!(asked.len(), 1, "{asked:?}");
    });
}
