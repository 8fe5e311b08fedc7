//! Real programs under the built-in profiles of their languages.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use aegis_tests::workload::copy;
use aegis_tests::{USERS, Workspace, packages, program, text};

/// Runs a command under a profile and says what it printed.
#[track_caller]
fn prints(workspace: &Workspace, profile: &str, words: &[&str], expected: &str) {
    let output = workspace.run(profile, words);
    let user = workspace.user;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{user:?} {words:?}: {}",
        text(&output)
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains(expected),
        "{user:?} {words:?}: {}",
        text(&output)
    );
}

#[test]
fn go_runs_tests_and_builds() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/go.mod", "module example.org/sum\n\ngo 1.15\n");
        workspace.write(
            "work/main.go",
            "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc sum(a, b int) int { return a + b }\n\n\
             func main() { fmt.Println(\"sum\", sum(3, 4), len(os.Args)) }\n",
        );
        workspace.write(
            "work/main_test.go",
            "package main\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tif sum(3, 4) != 7 {\n\t\tt.Fatal(\"no\")\n\t}\n}\n",
        );
        let profile =
            "aegis: 1\nextends: [go]\ncapabilities: {files.write: [$WORK], shell.exec: [$TMP]}\n";
        prints(&workspace, profile, &["go", "run", ".", "word"], "sum 7 2");
        prints(
            &workspace,
            profile,
            &["go", "test", "./..."],
            "ok  \texample.org/sum",
        );
        prints(&workspace, profile, &["go", "build", "-o", "sum"], "");
        assert!(workspace.work().join("sum").exists());
        // Without the line, building goes on, running is refused, and the line that heals it is named.
        let without = profile.replace(", shell.exec: [$TMP]", "");
        prints(&workspace, &without, &["go", "vet", "."], "");
        let output = workspace.run(&without, &["go", "run", "."]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            text(&output).contains("capabilities: {shell.exec: [$TMP]}"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn java_compiles_and_runs_and_loads_a_library_that_it_has_unpacked() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write(
            "work/Main.java",
            "import java.nio.file.*;\nimport java.util.stream.*;\n\npublic class Main {\n  public static void main(String[] words) throws Exception {\n    \
             System.out.println(Stream.of(words).collect(Collectors.joining(\"+\")));\n    \
             Process child = new ProcessBuilder(\"java\", \"-version\").redirectErrorStream(true).start();\n    \
             System.out.println(\"child \" + child.waitFor());\n    \
             Path unpacked = Files.createTempFile(\"native\", \".so\");\n    \
             Files.copy(Path.of(System.getProperty(\"java.home\"), \"lib\", \"libnio.so\"), unpacked, StandardCopyOption.REPLACE_EXISTING);\n    \
             if (words.length > 2) { System.load(unpacked.toString()); System.out.println(\"loaded\"); }\n  }\n}\n",
        );
        let profile = "aegis: 1\nextends: [java, project]\ncapabilities: {shell.exec: [$TMP]}\n";
        prints(
            &workspace,
            profile,
            &["java", "Main.java", "a", "b"],
            "a+b\nchild 0\n",
        );
        prints(
            &workspace,
            profile,
            &["java", "Main.java", "a", "b", "c"],
            "a+b+c\nchild 0\nloaded\n",
        );
        let output = workspace.run(
            &profile.replace("[$TMP]", "[]"),
            &["java", "Main.java", "a", "b", "c"],
        );
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let compile = "aegis: 1\nextends: [java]\ncapabilities: {files.write: [$WORK]}\n";
        prints(&workspace, compile, &["javac", "Main.java"], "");
        prints(
            &workspace,
            compile,
            &["java", "-cp", ".", "Main", "x", "y"],
            "x+y\nchild 0\n",
        );
    }
}

#[test]
fn ruby_and_perl_run_with_their_libraries() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = |language: &str| format!("aegis: 1\nextends: [{language}, project]\n");
        workspace.write(
            "work/main.rb",
            "require 'json'\nrequire 'set'\nrequire 'digest'\nrequire 'tempfile'\nrequire 'rexml/document'\n\
             Tempfile.create('x') { |file| file.write('x') }\n\
             puts JSON.generate(Set[3, 4].sum => Digest::SHA256.hexdigest('')[0, 8]), REXML::Document.new('<a/>').root.name, ARGV.inspect\n",
        );
        prints(
            &workspace,
            &profile("ruby"),
            &["ruby", "main.rb", "x"],
            "{\"7\":\"e3b0c442\"}\na\n[\"x\"]\n",
        );
        workspace.write(
            "work/main.pl",
            "use strict; use warnings; use utf8; use JSON::PP; use List::Util qw(sum); use Digest::SHA qw(sha256_hex);\n\
             use File::Temp qw(tempfile); use POSIX qw(floor); my ($file) = tempfile();\n\
             print JSON::PP->new->canonical->encode({sum => sum(3, 4), sha => substr(sha256_hex(''), 0, 8)}), floor(7.5), \"@ARGV\\n\";\n",
        );
        prints(
            &workspace,
            &profile("perl"),
            &["perl", "main.pl", "x"],
            "{\"sha\":\"e3b0c442\",\"sum\":7}7x\n",
        );
    }
}

/// Makes a package.
const WHEEL: &str = "
import zipfile
with zipfile.ZipFile('out/pkg-1-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('pkg.py', 'print(\"installed\")')
    info = 'pkg-1.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: pkg\\nVersion: 1\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', '')
";

#[test]
fn a_cache_is_read_and_packages_of_the_project_are_installed() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("home/.m2/repository/org/example/a.jar", "x");
        let profile = "aegis: 1\nextends: [shell, caches]\n";
        prints(
            &workspace,
            profile,
            &["sh", "-c", "cat ~/.m2/repository/org/example/a.jar"],
            "x",
        );
        let output = workspace.run(
            profile,
            &["sh", "-c", "echo y > ~/.m2/repository/org/example/a.jar"],
        );
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        // pip tells systems apart by /etc/os-release, and installs what lies in the project.
        let release = "import platform; print('release', platform.freedesktop_os_release()['ID'])";
        let python = "aegis: 1\nextends: [python, shell, project]\ncapabilities: {files.write: [$WORK/out]}\n";
        workspace.write("work/out/there", "");
        workspace.write("work/wheel.py", WHEEL);
        let install = "python3 wheel.py && python3 -m pip -q install --no-index --no-cache-dir --target out/site out/pkg-1-py3-none-any.whl";
        prints(&workspace, python, &["python3", "-c", release], "release ");
        let line = format!("{install} && PYTHONPATH=out/site python3 -c 'import pkg'");
        prints(&workspace, python, &["sh", "-c", &line], "installed");
    }
}

/// What an MCP server answers when a tool is called, over its standard input and output.
fn answer(mut server: Command, tool: &str, arguments: &str) -> String {
    let child = server
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("aegis-run starts");
    let mut requests = child.stdin.take().expect("a pipe");
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    );
    for request in [
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        &call,
    ] {
        writeln!(requests, "{request}").expect("it reads");
    }
    let answers = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let answer = answers.into_iter().find(|line| line.contains(r#""id":2"#));
    child.kill().expect("kill");
    child.wait().expect("its end");
    answer.unwrap_or_default()
}

#[test]
fn mcp_servers_answer_from_the_directory_that_they_are_started_in() {
    let (node, python) = (packages::mcp_node(), packages::mcp_python());
    for user in USERS {
        let workspace = Workspace::new(user);
        copy(&workspace, &node, &workspace.work().join("node_modules"));
        copy(&workspace, &python, &workspace.work().join("venv"));
        let note = workspace
            .write("work/note.txt", "a note\n")
            .canonicalize()
            .expect("a file");
        let start = |profile: &str, words: &[&str]| {
            let mut command = workspace.command(program("aegis-run"));
            command.args(["--profile", profile, "--"]).args(words);
            command
        };
        let server = "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
        let path = format!(r#"{{"path":"{}"}}"#, note.display());
        let said = answer(
            start("mcp-node", &["node", server, "."]),
            "read_text_file",
            &path,
        );
        assert!(said.contains("a note"), "{user:?}: {said}");
        let times = r#"{"source_timezone":"UTC","time":"12:00","target_timezone":"Asia/Tokyo"}"#;
        let said = answer(
            start("mcp-python", &["venv/bin/python3", "-m", "mcp_server_time"]),
            "convert_time",
            times,
        );
        assert!(said.contains("21:00:00+09:00"), "{user:?}: {said}");
    }
}

#[test]
fn uv_makes_an_environment_and_runs_a_program_in_it() {
    let uv = packages::uv();
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write(
            "work/main.py",
            "import sys; print('ran', sys.prefix != sys.base_prefix)\n",
        );
        let path = format!("{}/bin:/usr/bin:/bin", uv.display());
        let profile = format!(
            "aegis: 1\nextends: [uv]\ncapabilities: {{files.write: [$WORK]}}\nenvironment: {{set: {{PATH: \"{path}\"}}}}\n"
        );
        prints(&workspace, &profile, &["uv", "venv", "--offline"], "");
        prints(
            &workspace,
            &profile,
            &["uv", "run", "--offline", "--no-project", "main.py"],
            "ran True",
        );
    }
}

/// Its processes talk over shared memory, pairs and a socket of their own; the page comes from a server in the sandbox.
#[test]
fn chromium_shows_what_a_page_s_script_has_made_of_it() {
    let profile = "aegis: 1\nextends: [browser, python]\ncapabilities: {files.read: [$WORK]}\n";
    let script = "python3 -m http.server --bind 127.0.0.1 8000 >/tmp/log 2>&1 & \
        until chromium --headless --no-sandbox --dump-dom http://127.0.0.1:8000/page.html >/tmp/page 2>/dev/null \
        && grep 'made by' /tmp/page; do :; done";
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write(
            "work/page.html",
            "<p id=here></p><script>here.textContent = 'made by ' + ['script', 6 * 7].join(' ')</script>",
        );
        prints(
            &workspace,
            profile,
            &["sh", "-c", script],
            "made by script 42",
        );
    }
}
