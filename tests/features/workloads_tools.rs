//! Single programs, and a pipeline.

use std::path::Path;

use aegis_tests::Workspace;
use aegis_tests::workload::Workload;

fn directory(workspace: &Workspace, name: &str) {
    let path = workspace.work().join(name);
    std::fs::create_dir(&path).expect("mkdir");
    workspace.own(&path);
}

/// A small tree of text, with a hidden and an ignored file, and a name that needs quoting.
fn tree(workspace: &Workspace) {
    for number in 0..40 {
        let text: String = (0..200)
            .map(|line| format!("line {line} of file {number}\n"))
            .collect();
        workspace.write(&format!("work/tree/part {}/{number}.txt", number % 4), text);
    }
    workspace.write("work/tree/.hidden", "line 7 of file hidden\n");
    workspace.write("work/tree/.ignore", "*.log\n");
    workspace.write("work/tree/noise.log", "line 7 of file noise\n");
    workspace.write("work/tree/bytes", [0, 1, 2, b'l', b'i', b'n', b'e', 255]);
}

#[test]
fn ripgrep_finds_the_same() {
    Workload::new("tests/profiles/ripgrep.yaml")
        .prepare(tree)
        .runs_the_same(
            &[
                "rg",
                "--sort=path",
                "--line-number",
                r"line 1?7 of file \d*3\b",
                "tree",
            ],
            |outcome| {
                assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
                assert!(
                    outcome
                        .stdout
                        .contains("tree/part 3/23.txt:18:line 17 of file 23")
                );
                assert_eq!(outcome.stdout.lines().count(), 8, "{}", outcome.stdout);
            },
        );
}

#[test]
fn ripgrep_with_threads_counts_the_same_and_says_when_nothing_is_found() {
    // Its threads find files in any order; a search without matches has the same output in any order.
    Workload::new("tests/profiles/ripgrep.yaml")
        .prepare(tree)
        .runs_the_same(
            &["rg", "--threads=4", "--hidden", "no such line", "tree"],
            |outcome| {
                assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
                assert_eq!(outcome.stdout, "");
            },
        );
}

#[test]
fn jq_transforms_the_same() {
    let prepare = |workspace: &Workspace| {
        workspace.write(
            "work/data.json",
            r#"{"rows": [{"n": 3, "t": ["a", "b"]}, {"n": 1.5e3, "t": []}]}"#,
        );
    };
    Workload::new("tests/profiles/jq.yaml").prepare(prepare).stdin("{\"extra\": \"\u{fc}\"}\n").runs_the_same(
        &[
            "jq", "--sort-keys", "--slurpfile", "data", "data.json",
            ". + {rows: $data[0].rows | map(.n), tags: [$data[0].rows[].t[]] | join(\"+\"), n: (\"a1b22\" | [scan(\"[0-9]+\")])}",
            "-",
        ],
        |outcome| {
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            assert!(outcome.stdout.contains("\"tags\": \"a+b\""), "{}", outcome.stdout);
        },
    );
}

#[test]
fn jq_reports_bad_input_the_same() {
    Workload::new("tests/profiles/jq.yaml")
        .stdin("{\"a\": }")
        .runs_the_same(&["jq", "."], |outcome| {
            // 2 or 4, by version.
            assert!(outcome.status > Some(0), "{:?}", outcome.status);
            assert!(outcome.stderr.contains("parse error"), "{}", outcome.stderr);
        });
}

#[test]
fn sqlite_makes_and_asks_a_database_the_same() {
    let statements = "
        PRAGMA journal_mode = WAL;
        CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, born INTEGER);
        CREATE INDEX by_year ON person (born);
        BEGIN;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO person (name, born) SELECT printf('person %04d', i), 1900 + i % 100 FROM n;
        COMMIT;
        SELECT born, count(*), min(name) FROM person GROUP BY born ORDER BY born LIMIT 5;
        DELETE FROM person WHERE id % 7 = 0;
        SELECT json_group_array(name) FROM (SELECT name FROM person WHERE born = 1950 LIMIT 3);
        VACUUM;
        PRAGMA integrity_check;
        SELECT nonsense;
    ";
    Workload::new("tests/profiles/sqlite.yaml")
        .prepare(|workspace| directory(workspace, "db"))
        .stdin(statements)
        .runs_the_same(&["sqlite3", "-batch", "db/people.sqlite"], |outcome| {
            assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
            assert!(
                outcome.stdout.starts_with("wal\n1900|50|person 0100\n"),
                "{}",
                outcome.stdout
            );
            assert!(outcome.stdout.ends_with("\nok\n"), "{}", outcome.stdout);
            assert!(
                outcome.stderr.contains("no such column"),
                "{}",
                outcome.stderr
            );
            let database = &outcome.files[Path::new("db/people.sqlite")];
            assert!(database.content.starts_with(b"SQLite format 3"));
        });
}

#[test]
fn tar_and_xz_pack_and_unpack_the_same() {
    let script = "
        set -e
        tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cJf out/tree.tar.xz tree
        xz --test out/tree.tar.xz
        xz --list --robot out/tree.tar.xz
        mkdir out/again && tar -xJpf out/tree.tar.xz -C out/again
        tar -tJf out/tree.tar.xz
        cmp tree/bytes out/again/tree/bytes
        tar -xJf out/tree.tar.xz -C out/nowhere
    ";
    Workload::new("tests/profiles/archive.yaml")
        .prepare(|workspace| {
            tree(workspace);
            std::os::unix::fs::symlink("part 1/1.txt", workspace.work().join("tree/link"))
                .expect("a link");
            std::fs::hard_link(
                workspace.work().join("tree/bytes"),
                workspace.work().join("tree/same"),
            )
            .expect("a second name");
            std::fs::remove_file(workspace.work().join("tree/link")).expect("removed");
            directory(workspace, "out");
        })
        .runs_the_same(&["sh", "-c", script], |outcome| {
            assert_eq!(outcome.status, Some(2), "{}", outcome.stderr);
            assert!(
                outcome.stdout.contains("tree/part 3/39.txt\n"),
                "{}",
                outcome.stdout
            );
            assert!(outcome.stderr.contains("out/nowhere"), "{}", outcome.stderr);
            assert!(
                outcome
                    .files
                    .contains_key(Path::new("out/again/tree/part 0/0.txt"))
            );
        });
}

#[test]
fn imagemagick_draws_and_converts_the_same() {
    // By its path: PATH may have another program of this name.
    let command = [
        "/usr/bin/convert",
        "-size",
        "120x80",
        "gradient:navy-orange",
        "-swirl",
        "90",
        "-fill",
        "white",
        "-draw",
        "circle 60,40 60,20",
        "-resize",
        "50%",
        "-strip",
        "-write",
        "picture.jpg",
        "-format",
        "%m %wx%h %#\\n",
        "-write",
        "info:-",
        "picture.png",
    ];
    Workload::new("tests/profiles/imagemagick.yaml").runs_the_same(&command, |outcome| {
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert!(outcome.stdout.contains("60x40"), "{}", outcome.stdout);
        assert!(
            outcome.files[Path::new("picture.png")]
                .content
                .starts_with(b"\x89PNG")
        );
        assert!(
            outcome.files[Path::new("picture.jpg")]
                .content
                .starts_with(b"\xff\xd8")
        );
    });
}

#[test]
fn imagemagick_reports_a_broken_picture_the_same() {
    Workload::new("tests/profiles/imagemagick.yaml")
        .prepare(|workspace| {
            workspace.write("work/broken.png", b"\x89PNG\r\n\x1a\nnothing");
        })
        .runs_the_same(
            &["/usr/bin/convert", "broken.png", "broken.gif"],
            |outcome| {
                assert_eq!(outcome.status, Some(1));
                assert!(outcome.stderr.contains("broken.png"), "{}", outcome.stderr);
            },
        );
}

#[test]
fn a_shell_pipeline_runs_the_same() {
    let script = r#"
        set -u
        scratch=$(mktemp) && trap 'rm -f "$scratch"' EXIT
        find tree -name '*.txt' -print0 | sort -z | xargs -0 -n 8 -P 2 cat > /dev/null
        cat tree/*/1*.txt | awk '{ count[$2 % 5] += $5 } END { for (c in count) print c, count[c] }' |
            sort -n | tee "$scratch" | sed 's/ /=/' > out/sums
        paste -d: out/sums <(cut -d' ' -f1 "$scratch")
        diff <(head -2 "$scratch") <(tail -2 "$scratch") && echo equal || echo "differ: $?"
        while read -r key value; do printf '%s has %d\n' "$key" "$value"; done <<EOF
one 1
two 2
EOF
        mkfifo out/pipe && { gzip -nc tree/bytes > out/pipe & gzip -dc < out/pipe | od -An -tx1; wait; rm out/pipe; }
        yes | head -3 | nl; echo "${PIPESTATUS[@]}"
        timeout 0.2 sleep 10; echo "timeout: $?"
        sh -c 'kill -TERM $$'; echo "killed: $?"
        ./nonexistent; echo "missing: $?"
        umask 027; mkdir out/dir; : > out/dir/file; ln -s dir/file out/link; chmod 0751 out/dir/file
        grep -c . tree/absent
        exec 5>&1; echo "to five" >&5; false | exit 9
    "#;
    Workload::new("tests/profiles/pipeline.yaml")
        .prepare(|workspace| {
            tree(workspace);
            directory(workspace, "out");
        })
        .runs_the_same(&["bash", "-c", script], |outcome| {
            assert_eq!(outcome.status, Some(9), "{}", outcome.stderr);
            assert!(
                outcome.stdout.contains("\ntwo has 2\n"),
                "{}",
                outcome.stdout
            );
            assert!(
                outcome
                    .stdout
                    .contains("timeout: 124\nkilled: 143\nmissing: 127\n"),
                "{}",
                outcome.stdout
            );
            assert!(outcome.stderr.contains("tree/absent"), "{}", outcome.stderr);
            assert!(outcome.files.contains_key(Path::new("out/sums")));
        });
}
