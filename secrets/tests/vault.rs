//! Vault: a server on loopback that speaks its protocol, in clear and over TLS.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aegis_secrets::protocol::Answer;

use crate::home::{Home, Told, USER, mode};

const TOKEN: &str = "hvs.SyntheticTokenOfTheTests";

struct Vault {
    child: Child,
    port: u16,
}

impl Vault {
    fn start(tls: Option<(&Path, &Path)>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vault.py");
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(script)
            .arg(TOKEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some((certificate, key)) = tls {
            command.args([certificate, key]);
        }
        let mut child = command.spawn().expect("python3 starts");
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut port)
            .unwrap();
        let port = port.trim().parse().expect("its port");
        Self { child, port }
    }

    /// What it was asked for.
    fn log(&self) -> Vec<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .write_all(b"GET /log HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn source(vault: &Vault, path: &str, more: &str) -> String {
    format!(
        "{{vault: \"http://127.0.0.1:{}\", path: {path}, field: token{more}}}",
        vault.port
    )
}

#[test]
fn a_field_is_read_with_its_dates() {
    for uid in [0, USER] {
        let vault = Vault::start(None);
        let home = Home::ready(uid);
        home.write("home/.vault-token", format!("{TOKEN}\n"));
        home.sources(&format!(
            "app: {}\nexpires: {}\n",
            source(&vault, "secret/my/app", ", rotate-every: 1d"),
            source(&vault, "secret/expires", "")
        ));
        // What is on this host is asked directly.
        let provider = home.provider_with(|command| {
            command
                .env("http_proxy", "http://127.0.0.1:1")
                .env("all_proxy", "http://127.0.0.1:1")
        });
        provider.ask("app", None);
        let Some((
            Answer::Value {
                due,
                expires,
                version,
                ..
            },
            value,
        )) = provider.answer()
        else {
            panic!("there is one")
        };
        assert_eq!(
            (value.as_slice(), due, expires),
            (&b"sesame"[..], true, None)
        );
        assert_eq!(
            provider.get("app", Some(&version)),
            Told::Unchanged("app".into())
        );
        assert_eq!(
            vault.log(),
            ["/v1/secret/data/my/app"],
            "not asked again at once"
        );
        provider.ask("expires", None);
        assert!(matches!(
            provider.answer(),
            Some((
                Answer::Value {
                    expires: Some(4_102_444_800),
                    due: false,
                    ..
                },
                _
            ))
        ));
    }
}

#[test]
fn what_goes_wrong_is_told_with_the_source_and_without_the_value() {
    let vault = Vault::start(None);
    let other = Vault::start(None);
    let home = Home::ready(0);
    home.write("home/.vault-token", TOKEN);
    home.write("wrong-token", "hvs.other");
    let wrong = format!(", token-file: {}", home.path("wrong-token").display());
    let missing = format!(", token-file: {}", home.path("missing").display());
    let plain = [
        ("deleted", "there is nothing at secret/deleted"),
        ("nothing", "there is nothing at secret/nothing"),
        ("lines", "the field `token`: it has a line feed"),
        ("moved", "it says to ask elsewhere (http://127.0.0.1:"),
        ("megabytes", "longer than 1 MiB"),
        ("torn", "its answer ends early"),
        ("not-json", "is not that of a key-value store of version 2"),
        (
            "other-json",
            "is not that of a key-value store of version 2",
        ),
        ("sealed", "it refuses (status 503): Vault is sealed"),
    ];
    let mut lines: String = plain
        .iter()
        .map(|(name, _)| {
            format!(
                "{name}: {}\n",
                source(&vault, &format!("secret/{name}"), "")
            )
        })
        .collect();
    for (name, path, more) in [
        ("slow", "secret/slow", ", timeout: 300ms"),
        ("wrong", "secret/my/app", &wrong),
        ("missing", "secret/my/app", &missing),
    ] {
        lines += &format!("{name}: {}\n", source(&vault, path, more));
    }
    for field in ["number", "nested", "none"] {
        lines += &format!(
            "{field}: {{vault: \"http://127.0.0.1:{}\", path: secret/my/app, field: {field}}}\n",
            vault.port
        );
    }
    drop(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    lines += "gone: {vault: \"http://127.0.0.1:1\", path: secret/a, field: b}\n";
    home.sources(&lines);
    let provider = home.provider();
    let rest = [
        ("slow", "it took longer than 0.3s"),
        ("wrong", "it refuses (status 403): permission denied"),
        ("missing", "there is no token in"),
        ("number", "the field `number` is not text"),
        ("nested", "the field `nested` is not text"),
        ("none", "the secret has no field `none`"),
        ("gone", "it cannot be asked"),
    ];
    for (alias, expected) in plain.into_iter().chain(rest) {
        let (source, why) = provider.failure(alias);
        assert!(source.starts_with("vault http://127.0.0.1:"), "{source}");
        assert!(why.contains(expected), "{alias}: {why}");
        for value in ["sesame", TOKEN, "hvs."] {
            assert!(!why.contains(value), "{alias}: {why}");
        }
    }
    drop(provider);
    assert!(other.log().is_empty());
    // Others could read the token.
    mode(&home.path("home/.vault-token"), 0o644);
    assert!(home.why("sealed").contains("chmod go="));
}

#[test]
fn a_redirection_is_not_followed() {
    let vault = Vault::start(None);
    let home = Home::ready(0);
    home.write("home/.vault-token", TOKEN);
    home.sources(&format!("moved: {}", source(&vault, "secret/moved", "")));
    assert!(home.why("moved").contains("it says to ask elsewhere"));
    assert_eq!(vault.log(), ["/v1/secret/data/moved"]);
}

#[test]
fn a_certificate_has_to_be_of_an_authority_that_the_host_trusts() {
    let home = Home::ready(USER);
    let at = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let (authority, certificate, key) = (
        home.path("authority.pem"),
        home.path("certificate.pem"),
        home.path("key.pem"),
    );
    let openssl = |words: &str| {
        let words = words.split(' ').map(|word| match word.strip_prefix('@') {
            Some(name) => at(name),
            None => word.to_owned(),
        });
        let made = Command::new("openssl").args(words).output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {new} -days 30 -subj /CN=authority -out @authority.pem -keyout @authority.key"
    ));
    openssl(&format!(
        "req {new} -subj /CN=vault -addext subjectAltName=DNS:localhost -out @request.pem -keyout @key.pem"
    ));
    openssl(
        "x509 -req -in @request.pem -CA @authority.pem -CAkey @authority.key -days 30 -copy_extensions copy -out @certificate.pem",
    );
    let vault = Vault::start(Some((&certificate, &key)));
    home.write("home/.vault-token", TOKEN);
    mode(&authority, 0o644);
    let named = |host: &str| {
        home.sources(&format!(
            "app: {{vault: \"https://{host}:{}\", path: secret/my/app, field: token}}",
            vault.port
        ));
    };
    let trusting = || home.provider_with(|command| command.env("SSL_CERT_FILE", &authority));
    named("localhost");
    assert_eq!(trusting().value("app", None).0, "sesame");
    assert!(
        home.provider()
            .failure("app")
            .1
            .contains("it cannot be asked")
    );
    // It is not for this name.
    named("127.0.0.1");
    assert!(trusting().failure("app").1.contains("it cannot be asked"));
}
