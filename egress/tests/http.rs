//! HTTP in the clear, by programs as they are.

use std::io::{Read, Write};

use crate::world::{OPEN, OTHER_PUBLIC, PUBLIC, World, curl, http_server, json, say};

#[test]
fn what_is_asked_for_and_let_through_passes_as_it_was_sent() {
    World::new(OPEN).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            let url = "http://allowed.example/a/b?c=d";
            let (status, body, _) = curl(&["--data-binary", "hello", "-H", "X-Own: 1", url]);
            assert_eq!((status.as_str(), body.as_str()), ("200", "hello"));
            let (head, body) = asked.lock().unwrap().pop().unwrap();
            assert!(head.starts_with("POST /a/b?c=d HTTP/1.1\r\n"), "{head}");
            // Names of fields keep their case, a body its length.
            for line in [
                "Host: allowed.example\r\n",
                "X-Own: 1\r\n",
                "Content-Length: 5\r\n",
            ] {
                assert!(head.contains(line), "{head}");
            }
            assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
            assert_eq!(body, b"hello");
            let (to, through, _) = inside.ruling();
            assert!(through);
            assert_eq!(to.address, Some(PUBLIC.into()));
            assert_eq!(to.method.as_deref(), Some("POST"));
            // What follows the `?` is nobody's to record.
            assert_eq!(to.path.as_deref(), Some("/a/b"));
            let (sent, received, error) = inside.ended();
            assert_eq!(sent, (head.len() + body.len()) as u64);
            assert!(received > 5 && error.is_none());
        },
    );
}

#[test]
fn bodies_stream_in_chunks_or_by_length_in_both_directions() {
    World::new(OPEN).run(
        || http_server(PUBLIC, 80),
        |_, asked| {
            let (_, body, _) = curl(&["http://allowed.example/chunked"]);
            assert_eq!(body, "onetwo");
            let chunked = "Transfer-Encoding: chunked";
            let (_, body, _) = curl(&[
                "-H",
                chunked,
                "--data-binary",
                "hello",
                "http://allowed.example/",
            ]);
            assert_eq!(body, "hello");
            let (head, _) = asked.lock().unwrap().pop().unwrap();
            assert!(
                head.to_lowercase().contains("transfer-encoding: chunked"),
                "{head}"
            );
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("large");
            std::fs::write(&path, vec![b'x'; 20 << 20]).unwrap();
            let data = format!("@{}", path.display());
            let (status, body, _) = curl(&["--data-binary", &data, "http://allowed.example/"]);
            assert_eq!((status.as_str(), body.len()), ("200", 20 << 20));
        },
    );
}

#[test]
fn a_refusal_says_at_once_why_and_which_line_would_allow_it() {
    let policy = "
aegis-policy: 1
network-egress:
  - {id: reads, hosts: allowed.example, methods: GET, paths: /open/**, verdict: allow}
  - {id: never, hosts: allowed.example, paths: /open/shut, verdict: block, reason: it is shut}
";
    World::new(policy).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            // Not in the profile.
            let (status, body, output) = curl(&["http://denied.example:80/x"]);
            assert!(output.status.success());
            assert_eq!(status, "403");
            let body = json(&body);
            assert_eq!(
                body["allow"],
                "capabilities: {net.outbound: [\"http://denied.example\"]}"
            );
            assert_eq!(body["host"], "denied.example");
            let (to, through, why) = inside.ruling();
            assert!(
                !through && why.contains("the profile does not ask for"),
                "{why}"
            );
            assert_eq!(
                (to.host.as_str(), to.path.as_deref()),
                ("denied.example", Some("/x"))
            );
            // In the profile, and not in the policy.
            let (status, body, _) = curl(&["-d", "x", "http://allowed.example/open/a"]);
            assert_eq!(status, "403");
            let allow = json(&body)["allow"].as_str().unwrap().to_owned();
            assert!(
                allow.starts_with("network-egress: [{") && allow.contains("\"POST\""),
                "{allow}"
            );
            assert!(!inside.ruling().1);
            // Refused by a rule.
            let (status, body, _) = curl(&["http://allowed.example/open/shut"]);
            assert_eq!(status, "403");
            let body = json(&body);
            assert_eq!(body["rules"], serde_json::json!(["never", "reads"]));
            assert!(
                body["reason"].as_str().unwrap().contains("it is shut"),
                "{body}"
            );
            // A path that servers may read in another way is none that the rule allows.
            for path in [
                "/open/../shut",
                "/open/%2e%2e/shut",
                "/open//shut",
                "/other",
            ] {
                let url = format!("http://allowed.example{path}");
                assert_eq!(curl(&["--path-as-is", &url]).0, "403", "{path}");
            }
            assert!(asked.lock().unwrap().is_empty());
            // A connection on which something was let through lets nothing else through.
            let requests = "GET /open/a HTTP/1.1\r\nHost: allowed.example\r\n\r\nGET /b HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
            let answers = say(inside.connect("allowed.example", 80), requests.as_bytes());
            assert!(answers.starts_with("HTTP/1.1 200 Fine"), "{answers}");
            assert_eq!(answers.matches("HTTP/1.1 403 ").count(), 1, "{answers}");
            assert_eq!(asked.lock().unwrap().len(), 1);
        },
    );
}

#[test]
fn a_refusal_of_a_large_upload_arrives_and_the_connection_is_closed() {
    World::new(OPEN).run(
        || {},
        |inside, ()| {
            let head =
                "POST / HTTP/1.1\r\nHost: denied.example\r\nContent-Length: 40000000\r\n\r\n";
            let words = [head.as_bytes(), &vec![b'x'; 40_000_000]].concat();
            // All of it is written before anything is read.
            let answer = say(inside.connect("denied.example", 80), &words);
            assert!(
                answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("}\n"),
                "{answer}"
            );
        },
    );
}

#[test]
fn each_request_of_a_connection_has_to_name_the_host_connected_to() {
    let mut world = World::new(OPEN);
    world.destinations.push("http://second.example");
    world.hosts += &format!("{OTHER_PUBLIC} second.example\n");
    world.run(
        || (http_server(PUBLIC, 80), http_server(OTHER_PUBLIC, 80)),
        |inside, (asked, of_second)| {
            // Both are let through, and still not by each other's connection.
            let first = "GET /1 HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
            let second = "GET /2 HTTP/1.1\r\nHost: second.example\r\n\r\n";
            let pipelined = format!("{first}{first}{second}{first}");
            let answer = say(inside.connect("allowed.example", 80), pipelined.as_bytes());
            assert_eq!(answer.matches("HTTP/1.1 200 Fine").count(), 2, "{answer}");
            assert_eq!(answer.matches("HTTP/1.1 403 ").count(), 1, "{answer}");
            for hosts in [
                "",
                "Host: allowed.example\r\nHost: second.example\r\n",
                "Host: allowed.example:81\r\n",
            ] {
                let words = format!("GET /3 HTTP/1.1\r\n{hosts}\r\n");
                let answer = say(inside.connect("allowed.example", 80), words.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 403 "), "{hosts}: {answer}");
            }
            let asked = asked.lock().unwrap();
            let heads: Vec<&str> = asked.iter().map(|(head, _)| &head[..6]).collect();
            assert_eq!(heads, ["GET /1", "GET /1"]);
            assert!(of_second.lock().unwrap().is_empty());
        },
    );
}

#[test]
fn nobody_here_is_a_proxy() {
    World::new(OPEN).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            for request in [
                "CONNECT allowed.example:443 HTTP/1.1",
                "TRACE / HTTP/1.1",
                "GET http://allowed.example/ HTTP/1.1",
                "GET http://denied.example/ HTTP/1.1",
            ] {
                let words = format!("{request}\r\nHost: allowed.example\r\n\r\nGET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n");
                let answer = say(inside.connect("allowed.example", 80), words.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request}: {answer}");
            }
            // What is not HTTP/1 at all.
            for words in ["\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH-2.0-x\r\n\r\n"] {
                let answer = say(inside.connect("allowed.example", 80), words.as_bytes());
                assert!(!answer.contains(" 200 "), "{answer}");
            }
            // Two ways to say where a request ends.
            let smuggled = "POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
            say(inside.connect("allowed.example", 80), format!("{smuggled}GET / HTTP/1.0\r\n\r\n").as_bytes());
            for (head, body) in asked.lock().unwrap().iter() {
                let lower = head.to_lowercase();
                assert!(!(lower.contains("content-length") && lower.contains("chunked")), "{head}");
                assert!(body.is_empty(), "{head}");
            }
        },
    );
}

#[test]
fn an_upgrade_goes_on_as_bytes_but_not_as_another_http() {
    World::new(OPEN).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            let mut stream = inside.connect("allowed.example", 80);
            let upgrade = |to: &str| format!("GET /ws HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade\r\nUpgrade: {to}\r\n\r\n");
            stream.write_all(upgrade("websocket").as_bytes()).unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
            stream.write_all(b"\x81\x05hello").unwrap();
            let mut frame = [0; 7];
            stream.read_exact(&mut frame).unwrap();
            assert_eq!(&frame, b"\x81\x05hello");
            drop(stream);
            let (sent, _, error) = inside.ended();
            assert!(sent > 7 && error.is_none(), "{error:?}");
            let mut stream = inside.connect("allowed.example", 80);
            stream.write_all(upgrade("h2c").as_bytes()).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            let (head, _) = asked.lock().unwrap().pop().unwrap();
            assert!(!head.to_lowercase().contains("h2c"), "{head}");
        },
    );
}

#[test]
fn a_server_that_closes_between_two_requests_is_connected_to_again() {
    World::new(OPEN).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            let mut stream = inside.connect("allowed.example", 80);
            let mut ask = |path: &str| {
                write!(
                    stream,
                    "GET {path} HTTP/1.1\r\nHost: allowed.example\r\n\r\n"
                )
                .unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    answer.extend(byte);
                }
                assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
            };
            ask("/close");
            ask("/again");
            ask("/again");
            assert_eq!(asked.lock().unwrap().len(), 3);
        },
    );
}

#[test]
fn a_body_that_servers_may_read_in_two_ways_is_refused() {
    let narrow = "
aegis-policy: 1
network-egress:
  - {id: reads, hosts: allowed.example, methods: [GET, DELETE], verdict: allow}
";
    let ask = |inside: &crate::world::Inside, method: &str, lines: &str, body: &str| {
        let words = format!("{method} / HTTP/1.1\r\nHost: allowed.example\r\n{lines}\r\n{body}");
        let answer = say(inside.connect("allowed.example", 80), words.as_bytes());
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    World::new(OPEN).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            for coding in [
                "Transfer-Encoding: gzip, chunked\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding: chunked, chunked\r\n",
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            ] {
                let status = ask(inside, "POST", coding, "5\r\nhello\r\n0\r\n\r\n");
                assert_eq!(status, "400", "{coding}");
            }
            assert!(asked.lock().unwrap().is_empty());
            // Where nothing depends on what a request is, it may be any.
            let close = "Connection: close\r\nContent-Length: 5\r\n";
            assert_eq!(ask(inside, "DELETE", close, "hello"), "200");
        },
    );
    World::new(narrow).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            for method in ["GET", "HEAD", "DELETE"] {
                for (length, body) in [
                    ("Content-Length: 5\r\n", "hello"),
                    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
                ] {
                    assert_eq!(
                        ask(inside, method, length, body),
                        "400",
                        "{method} {length}"
                    );
                }
            }
            assert!(asked.lock().unwrap().is_empty());
            assert_eq!(ask(inside, "DELETE", "Connection: close\r\n", ""), "200");
        },
    );
}

#[test]
fn a_host_is_passed_on_in_the_spelling_that_was_compared() {
    World::new(OPEN).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            for (said, own) in [
                ("ALLOWED.example.", "allowed.example"),
                ("Allowed.Example.:80", "allowed.example:80"),
            ] {
                let words = format!("GET / HTTP/1.1\r\nHost: {said}\r\nConnection: close\r\n\r\n");
                let answer = say(inside.connect("allowed.example", 80), words.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                let (head, _) = asked.lock().unwrap().pop().unwrap();
                assert!(head.contains(&format!("\r\nHost: {own}\r\n")), "{head}");
            }
        },
    );
}

#[test]
fn a_budget_ends_what_uses_more_and_says_so() {
    const BUDGET: &str = "
aegis-policy: 1
network-egress:
  - {id: few, hosts: allowed.example, schemes: http, ports: 80, budget: {requests: 3/m, request-size: 2K, response-size: 4K}, verdict: warn}
";
    World::new(BUDGET).run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            let url = "http://allowed.example/";
            let body = |size: usize| "x".repeat(size);
            let status = |arguments: &[&str]| curl(arguments).0;
            assert_eq!(status(&[url]), "200");
            let (status_of, told, _) = curl(&["--data", &body(3_000), url]);
            assert_eq!(status_of, "429", "{told}");
            // Whoever does not say how much it is gets nothing, however little it is.
            assert_eq!(
                status(&["-H", "Transfer-Encoding: chunked", "--data", "x", url]),
                "429"
            );
            // What was refused is not counted.
            assert_eq!(status(&["--data", &body(1_000), url]), "200");
            assert_eq!(status(&[url]), "200");
            let (status_of, told, _) = curl(&[url]);
            assert_eq!(status_of, "429", "{told}");
            assert!(told.contains("\"rules\":[\"few\"]"), "{told}");
            assert_eq!(asked.lock().unwrap().len(), 3);
            assert!(inside.ruling().1);
        },
    );
}

#[test]
fn a_response_beyond_the_budget_is_cut_off() {
    // Heads count, as they are written.
    const BUDGET: &str = "
aegis-policy: 1
network-egress:
  - {id: small, hosts: allowed.example, schemes: http, ports: 80, budget: {response-size: 75B}, verdict: warn}
";
    World::new(BUDGET).run(
        || http_server(PUBLIC, 80),
        |_, _| {
            let url = "http://allowed.example/";
            assert_eq!(curl(&[url]).0, "200");
            // The server repeats what it is sent, and tells how much that is.
            assert_eq!(curl(&["--data", &"x".repeat(100), url]).0, "429");
            // Here it does not tell.
            let (status, _, output) = curl(&["http://allowed.example/chunked/long"]);
            assert!(
                status == "200" && !output.status.success(),
                "{status} {output:?}"
            );
            assert!(curl(&["http://allowed.example/chunked"]).2.status.success());
        },
    );
}
