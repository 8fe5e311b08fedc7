//! What goes on for a while, through TLS that is opened: WebSocket, server-sent events, gRPC, uploads.

use super::stand::{OPENS, on_stand};

const SITE: &[&str] = &["https://web.test", "https://web.test:8443"];

/// RFC 6455 by hand: the handshake, one masked message, and what comes back.
const WEB_SOCKET: &str = r#"
import base64, hashlib, os, socket, ssl
s = ssl.create_default_context().wrap_socket(socket.create_connection(("web.test", 443)), server_hostname="web.test")
assert "Aegis" in str(s.getpeercert()["issuer"])
key = base64.b64encode(os.urandom(16))
s.sendall(b"GET /socket HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
f = s.makefile("rb")
head = b""
while not head.endswith(b"\r\n\r\n"): head += f.read(1)
accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
assert b" 101 " in head and accept in head, head
mask = b"abcd"
s.sendall(bytes([0x81, 0x80 | 5]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(b"hello")))
_, length = f.read(2)
print(f.read(length).decode(), f.read())
"#;

#[test]
fn web_sockets_go_on_as_their_ends_say() {
    on_stand(|stand| {
        let script = format!("python3 -c '{WEB_SOCKET}'");
        let ran = stand.run(OPENS, SITE, "", &script);
        assert_eq!(ran.exits(0).printed(), "hello b''", "{}", ran.told());
    });
}

/// The second event is sent when the first has been read.
#[test]
fn server_sent_events_come_when_they_are_sent() {
    let script = r#"
import urllib.request as u
with u.urlopen("https://web.test/events") as events:
    print(events.readline())
    u.urlopen("https://web.test/go").read()
    print(events.read())
"#;
    on_stand(|stand| {
        let ran = stand.run(OPENS, SITE, "", &format!("python3 -c '{script}'"));
        let printed = ran.exits(0).printed();
        assert!(printed.starts_with("b'data: first"), "{}", ran.told());
        assert!(printed.contains("data: second"), "{}", ran.told());
    });
}

/// A call in both directions: each message is answered before the next is sent, and the status comes in trailers.
#[test]
fn grpc_calls_have_messages_in_both_directions_and_trailers() {
    let script = r#"
const call = require("http2").connect("https://web.test:8443");
const stream = call.request({":method": "POST", ":path": "/a.Service/Call", "content-type": "application/grpc", te: "trailers"});
const message = (text) => Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), Buffer.from(text)]);
const ahead = ["two", "three"];
stream.write(message("one"));
stream.on("data", (piece) => {
  console.log(piece.subarray(5).toString());
  const next = ahead.shift();
  next ? stream.write(message(next)) : stream.end();
});
stream.on("trailers", (fields) => console.log("status", fields["grpc-status"], fields["grpc-message"]));
stream.on("close", () => call.close());
"#;
    on_stand(|stand| {
        stand.with_http2();
        let ran = stand.run(OPENS, SITE, "", &format!("node -e '{script}'"));
        let expected = "one\ntwo\nthree\nstatus 0 fine";
        assert_eq!(ran.exits(0).printed(), expected, "{}", ran.told());
    });
}

/// Servers refuse uploads whose length is not announced.
#[test]
fn an_upload_keeps_its_length() {
    on_stand(|stand| {
        let script = "head -c 3000000 /dev/zero > file && curl -sS -o /dev/null -T file https://web.test/upload && echo abc | curl -sS -o /dev/null --data-binary @- https://web.test/post";
        stand.run(OPENS, SITE, "", script).exits(0);
        let asked = stand.asked();
        assert_eq!(asked.len(), 2, "{asked:?}");
        for (asked, length) in asked.iter().zip([3_000_000, 4]) {
            assert_eq!(asked["length"], length, "{asked}");
            assert_eq!(
                asked["headers"]["content-length"],
                length.to_string(),
                "{asked}"
            );
            assert!(asked["headers"]["transfer-encoding"].is_null(), "{asked}");
        }
    });
}

/// By each of its ways to the network, and without a word about proxies.
#[test]
fn node_needs_no_variables_of_proxies() {
    let script = r#"
const http2 = require("http2"), https = require("https");
console.log(Object.keys(process.env).filter((name) => /proxy/i.test(name)).length);
fetch("https://web.test/fetch").then((r) => r.json()).then((told) => {
  console.log(told.path);
  https.get("https://web.test/get", (r) => r.resume().on("end", () => {
    const client = http2.connect("https://web.test:8443"), stream = client.request({":path": "/stream"});
    stream.on("data", (piece) => console.log(String(piece).trim()));
    stream.on("end", () => client.close());
  }));
});
"#;
    on_stand(|stand| {
        stand.with_http2();
        let proxy = ("https_proxy", "http://93.184.215.14:80".to_owned());
        // That of the caller is the broker's to use.
        stand.environment.push(("no_proxy", "*".to_owned()));
        stand.environment.push(proxy);
        let ran = stand.run(OPENS, SITE, "", &format!("node -e '{script}'"));
        let expected = "0\n/fetch\nGET web.test:8443 /stream";
        assert_eq!(ran.exits(0).printed(), expected, "{}", ran.told());
        let paths: Vec<_> = stand
            .asked()
            .iter()
            .map(|asked| asked["path"].clone())
            .collect();
        assert_eq!(paths, ["/fetch", "/get"]);
    });
}
