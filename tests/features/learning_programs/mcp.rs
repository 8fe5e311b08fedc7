//! MCP servers from npm and PyPI, driven over their standard input and output by the protocol's own client library.

use std::path::PathBuf;

use aegis_tests::packages;
use serde_json::{Value, json};

use super::*;

/// Starts the command of its last words as a server, lists its tools, calls those of its first word and prints the answers.
const CLIENT: &str = r#"
import asyncio, json, os, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
async def main():
    words = sys.argv[2:]
    server = StdioServerParameters(command=words[0], args=words[1:], env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        assert (await session.list_tools()).tools
        for name, arguments in json.loads(sys.argv[1]):
            answer = await session.call_tool(name, arguments)
            print(name, "failed" if answer.isError else "done", *[getattr(part, "text", part.type) for part in answer.content])
asyncio.run(main())
"#;

/// A server, what it is asked while it is learnt and later, and what it then answers.
struct Server {
    name: &'static str,
    prepare: &'static str,
    words: Vec<String>,
    learnt: Value,
    other: Value,
    says: &'static str,
    options: &'static [&'static str],
}

fn node(package: &str, script: &str, words: &[&str]) -> Vec<String> {
    let script = packages::mcp_nodes().join(package).join(script);
    let mut all = vec!["node".to_owned(), script.display().to_string()];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    all
}

fn python(environment: PathBuf, module: &str, words: &[&str]) -> Vec<String> {
    let python = environment.join("bin/python3").display().to_string();
    let mut all = vec![python, "-m".to_owned(), module.to_owned()];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    all
}

/// It cannot be executed as a module.
fn database(environment: &Path) -> Vec<String> {
    let python = environment.join("bin/python3").display().to_string();
    let start = "import mcp_server_sqlite; mcp_server_sqlite.main()";
    [&*python, "-c", start, "--db-path", "db/data"]
        .map(str::to_owned)
        .into()
}

/// Drives a server that is started by these words.
fn driven(workspace: &Workspace, calls: &Value, words: &[String]) -> Output {
    let client = packages::mcp_older_pythons().join("bin/python3");
    (workspace.command(client))
        .args(["-c", CLIENT, &calls.to_string()])
        .args(words)
        .output()
        .expect("the client starts")
}

/// The server is learnt while a client drives it; it answers the same under the profile, to which nothing is lacking; and it answers
/// other calls.
fn are_learnt_by_a_client(servers: Vec<Server>) {
    for (number, server) in servers.into_iter().enumerate() {
        let learner = LEARNERS[number % LEARNERS.len()];
        let what = format!("{} by {learner:?}", server.name);
        learning(learner, |workspace| {
            shell(workspace, server.prepare);
            let here = workspace.work().display().to_string();
            let filled = |calls: &Value| -> Value {
                serde_json::from_str(&calls.to_string().replace("{work}", &here)).expect("JSON")
            };
            let under = |program_name: &str, options: &[&str]| -> Vec<String> {
                let mut words = vec![program(program_name).display().to_string()];
                words.extend(options.iter().map(|word| (*word).to_owned()));
                words.push("--".to_owned());
                words.extend(
                    server
                        .words
                        .iter()
                        .map(|word| word.replace("{work}", &here)),
                );
                words
            };
            let by = ["--observe-by", learner.observes()];
            let learning = [&["-o", "p.yaml", "--no-verify"], &by[..], server.options].concat();
            let learnt = driven(
                workspace,
                &filled(&server.learnt),
                &under("aegis-learn", &learning),
            );
            succeeds(&what, workspace, &learnt);

            let again = ["--profile", "p.yaml", "--record", "seen.json", by[0], by[1]];
            let again = driven(
                workspace,
                &filled(&server.learnt),
                &under("aegis-run", &again),
            );
            succeeds(&what, workspace, &again);
            assert_eq!(
                again.stdout,
                learnt.stdout,
                "{what}: {} {}",
                text(&again),
                text(&learnt)
            );
            let lacks = (workspace.command(program("aegis-learn")))
                .args(["--against", "p.yaml", "--from", "seen.json"])
                .output()
                .expect("aegis-learn starts");
            succeeds(&what, workspace, &lacks);

            let other = under("aegis-run", &["--profile", "p.yaml"]);
            let other = driven(workspace, &filled(&server.other), &other);
            let what = format!("{what}, other calls");
            succeeds(&what, workspace, &other);
            assert!(
                text(&other).contains(server.says),
                "{what}: {}",
                text(&other)
            );
        });
    }
}

#[test]
fn servers_from_npm_work_under_what_was_learnt() {
    // Before there is no network any more.
    let _client = packages::mcp_older_pythons();
    let of = |name: &str| format!("@modelcontextprotocol/server-{name}");
    are_learnt_by_a_client(vec![
        Server {
            name: "filesystem",
            prepare: "echo 'a note' > note.txt; mkdir more; echo 'another' > more/other.txt",
            words: node(&of("filesystem"), "dist/index.js", &["."]),
            learnt: json!([["read_text_file", {"path": "{work}/note.txt"}], ["list_directory", {"path": "{work}/more"}]]),
            other: json!([["directory_tree", {"path": "{work}"}], ["read_text_file", {"path": "{work}/more/other.txt"}]]),
            says: "another",
            options: &[],
        },
        Server {
            name: "memory",
            prepare: "touch memory.jsonl",
            words: [
                vec![
                    "env".to_owned(),
                    "MEMORY_FILE_PATH={work}/memory.jsonl".to_owned(),
                ],
                node(&of("memory"), "dist/index.js", &[]),
            ]
            .concat(),
            learnt: json!([["create_entities", {"entities": [{"name": "a", "entityType": "t", "observations": ["one"]}]}]]),
            other: json!([
                ["create_entities", {"entities": [{"name": "b", "entityType": "t", "observations": ["two"]}, {"name": "c", "entityType": "t", "observations": []}]}],
                ["create_relations", {"relations": [{"from": "b", "to": "c", "relationType": "r"}]}],
                ["search_nodes", {"query": "two"}],
            ]),
            says: "search_nodes done",
            options: &[],
        },
        Server {
            name: "sequential-thinking",
            prepare: ":",
            words: node(&of("sequential-thinking"), "dist/index.js", &[]),
            learnt: json!([["sequentialthinking", {"thought": "one", "nextThoughtNeeded": true, "thoughtNumber": 1, "totalThoughts": 2}]]),
            other: json!([["sequentialthinking", {"thought": "two", "nextThoughtNeeded": false, "thoughtNumber": 7, "totalThoughts": 2, "isRevision": true, "revisesThought": 1}]]),
            says: "\"totalThoughts\": 7",
            options: &[],
        },
        Server {
            name: "everything",
            prepare: ":",
            words: node(&of("everything"), "dist/index.js", &[]),
            learnt: json!([["echo", {"message": "one"}]]),
            other: json!([["get-sum", {"a": 20, "b": 22}], ["get-tiny-image", {}]]),
            says: "42",
            options: &[],
        },
        Server {
            name: "commands",
            prepare: "echo b > f; echo a >> f",
            words: node("mcp-server-commands", "build/index.js", &[]),
            learnt: json!([["run_command", {"command": "sort f"}]]),
            other: json!([["run_command", {"command": "sort -r f | sort -u f -"}]]),
            says: "a\nb",
            options: &[],
        },
    ]);
}

#[test]
fn servers_from_pypi_work_under_what_was_learnt() {
    let (newer, older) = (packages::mcp_pythons(), packages::mcp_older_pythons());
    are_learnt_by_a_client(vec![
        Server {
            name: "time",
            prepare: ":",
            words: python(
                newer.clone(),
                "mcp_server_time",
                &["--local-timezone", "UTC"],
            ),
            learnt: json!([["convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}]]),
            other: json!([["convert_time", {"source_timezone": "Europe/Paris", "time": "12:00", "target_timezone": "America/Lima"}]]),
            says: "convert_time done",
            options: &[],
        },
        Server {
            name: "git",
            prepare: "git init -q repository; cd repository; git config user.name a; git config user.email a@b; echo 1 > a; git add a; git commit -qm first; echo 2 > a; git add a; echo 3 > new",
            words: python(
                newer.clone(),
                "mcp_server_git",
                &["--repository", "{work}/repository"],
            ),
            learnt: json!([["git_status", {"repo_path": "{work}/repository"}], ["git_log", {"repo_path": "{work}/repository"}]]),
            other: json!([["git_diff_staged", {"repo_path": "{work}/repository"}], ["git_show", {"repo_path": "{work}/repository", "revision": "HEAD"}]]),
            says: "git_show done",
            options: &[],
        },
        Server {
            name: "calculator",
            prepare: ":",
            words: python(older.clone(), "mcp_server_calculator", &[]),
            learnt: json!([["calculate", {"expression": "1 + 1"}]]),
            other: json!([["calculate", {"expression": "sqrt(1764) * 2 ** 0"}]]),
            says: "42",
            options: &[],
        },
        Server {
            name: "sqlite",
            prepare: "mkdir db; sqlite3 db/data 'create table t(a); insert into t values (41)'",
            words: database(&older),
            learnt: json!([["write_query", {"query": "insert into t values (1)"}], ["list_tables", {}]]),
            other: json!([["create_table", {"query": "create table u(b)"}], ["write_query", {"query": "update t set a = a + 1"}], ["read_query", {"query": "select * from t"}]]),
            says: "42",
            options: &[],
        },
        Server {
            name: "fetch",
            prepare: ":",
            words: python(newer, "mcp_server_fetch", &["--ignore-robots-txt"]),
            learnt: json!([["fetch", {"url": "http://127.0.0.1:9/"}]]),
            other: json!([["fetch", {"url": "http://127.0.0.1:9/other", "raw": true}]]),
            says: "fetch failed",
            options: &["--allow-net", "host"],
        },
    ]);
}
