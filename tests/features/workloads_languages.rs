//! Interpreters with packages that came from their registries.

use aegis_tests::packages;
use aegis_tests::workload::{Workload, copy};

#[test]
fn python_with_installed_packages_runs_the_same() {
    let venv = packages::python();
    Workload::new("tests/profiles/python-package.yaml")
        .prepare(move |workspace| {
            copy(workspace, &venv, &workspace.work().join("venv"));
            workspace.write(
                "work/main.py",
                r#"
import json, os, subprocess, sys, tempfile, threading
import yaml
from rich.console import Console
from rich.table import Table

assert yaml.__with_libyaml__, "the compiled extension is loaded"
data = yaml.load(open("data.yaml"), Loader=yaml.CSafeLoader)
table = Table(title="Steps")
for column in ("name", "needs"):
    table.add_column(column)
for step in data["steps"]:
    table.add_row(step["name"], ", ".join(step.get("needs", [])))
Console(width=60, force_terminal=True).print(table)

with tempfile.NamedTemporaryFile("w+", suffix=".json") as copy:
    json.dump(data, copy)
    copy.flush()
    child = subprocess.run([sys.executable, "-c", "import json, sys; print(len(json.load(sys.stdin)['steps']))"],
                           stdin=open(copy.name), capture_output=True, text=True, check=True)
results = []
threads = [threading.Thread(target=lambda n=n: results.append(n * n)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("steps:", child.stdout.strip(), "threads:", sorted(results), "at:", os.getcwd())
print("warning: on standard error", file=sys.stderr)
sys.exit(3)
"#,
            );
            workspace.write(
                "work/data.yaml",
                "steps:\n- {name: build}\n- {name: test, needs: [build]}\n- {name: ship, needs: [build, test]}\n",
            );
        })
        .runs_the_same(&["venv/bin/python3", "main.py"], |outcome| {
            assert_eq!(outcome.status, Some(3), "{}", outcome.stderr);
            assert!(outcome.stdout.contains("steps: 3 threads: [0, 1, 4,"), "{}", outcome.stdout);
            assert!(outcome.stdout.contains("build, test"), "{}", outcome.stdout);
            assert_eq!(outcome.stderr, "warning: on standard error\n");
        });
}

#[test]
fn a_python_traceback_is_the_same() {
    let venv = packages::python();
    Workload::new("tests/profiles/python-package.yaml")
        .prepare(move |workspace| {
            copy(workspace, &venv, &workspace.work().join("venv"));
            workspace.write("work/main.py", "import yaml\nyaml.safe_load('{a: [}')\n");
        })
        .runs_the_same(&["venv/bin/python3", "main.py"], |outcome| {
            assert_eq!(outcome.status, Some(1));
            assert!(
                outcome.stderr.contains("yaml.parser.ParserError"),
                "{}",
                outcome.stderr
            );
        });
}

#[test]
fn node_with_installed_packages_runs_the_same() {
    let modules = packages::node();
    Workload::new("tests/profiles/node-package.yaml")
        .prepare(move |workspace| {
            copy(workspace, &modules, &workspace.work().join("node_modules"));
            std::fs::create_dir(workspace.work().join("out")).expect("mkdir");
            workspace.own(&workspace.work().join("out"));
            workspace.write(
                "work/main.mjs",
                r#"
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { marked } from "marked";
import semver from "semver";

const page = marked.parse(await readFile("page.md", "utf8"));
await writeFile("out/page.html", page);
console.log(createHash("sha256").update(page).digest("hex"));
console.log(semver.sort(["1.10.0", "1.9.3", "1.9.3-beta.2"]).join(" < "));
console.log(semver.satisfies("2.4.1", "^2.3"), randomBytes(8).length);
console.log(execFileSync(process.execPath, ["-p", "6 * 7"], { encoding: "utf8" }).trim());
const answer = await new Promise((resolve, reject) => {
  const worker = new Worker("require('worker_threads').parentPort.postMessage('from a thread')", { eval: true });
  worker.on("message", resolve).on("error", reject);
});
console.error(answer);
process.exitCode = 4;
"#,
            );
            workspace.write("work/page.md", "# Title\n\n* one\n* two with `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
        })
        .runs_the_same(&["node", "main.mjs"], |outcome| {
            assert_eq!(outcome.status, Some(4), "{}", outcome.stderr);
            assert!(outcome.stdout.contains("1.9.3-beta.2 < 1.9.3 < 1.10.0"), "{}", outcome.stdout);
            assert!(outcome.stdout.contains("\n42\n"), "{}", outcome.stdout);
            assert_eq!(outcome.stderr, "from a thread\n");
            let page = &outcome.files[std::path::Path::new("out/page.html")];
            assert!(page.content.starts_with(b"<h1>Title</h1>"));
        });
}

#[test]
fn npm_runs_a_packages_script_the_same() {
    let modules = packages::node();
    Workload::new("tests/profiles/node-package.yaml")
        .prepare(move |workspace| {
            copy(workspace, &modules, &workspace.work().join("node_modules"));
            std::fs::create_dir(workspace.work().join("out")).expect("mkdir");
            workspace.own(&workspace.work().join("out"));
            workspace.write(
                "work/package.json",
                r#"{"name": "demo", "version": "1.0.0", "scripts": {"next": "semver -i minor 1.2.3 && marked -i page.md -o out/page.html"}}"#,
            );
            workspace.write("work/page.md", "*emphasis*\n");
        })
        .env("npm_config_update_notifier", "false")
        .set("environment.pass=[npm_config_update_notifier]")
        .runs_the_same(&["npm", "run", "next"], |outcome| {
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            assert!(outcome.stdout.ends_with("\n1.3.0\n"), "{}", outcome.stdout);
            let page = &outcome.files[std::path::Path::new("out/page.html")];
            assert_eq!(page.content, b"<p><em>emphasis</em></p>\n");
        });
}
