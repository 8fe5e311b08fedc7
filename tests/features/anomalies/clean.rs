//! What a learnt skill always did is nothing out of the ordinary, however often it is run.

use aegis_tests::packages;

use super::*;

/// What is there, and what is run.
type Skill = (&'static str, &'static [&'static str]);

/// Published ones are copied from `$SKILLS`.
const SKILLS: [Skill; 10] = [
    ("mkdir out; echo 1 > data.csv", &["python3", "skill.py"]),
    (
        "mkdir out; printf 'date | tr a-z A-Z > out/date; ls | sort | head -n 1\\n' > run.sh",
        &["sh", "run.sh"],
    ),
    (
        "git init -q .; git config user.name me; git config user.email me@example.org; echo a > a; git add a; git commit -qm zero",
        &["git", "commit", "--allow-empty", "-qm", "one"],
    ),
    (
        "echo 'require(\"fs\").writeFileSync(\"made\", require(\"os\").tmpdir())' > main.js; echo > made",
        &["node", "main.js"],
    ),
    (
        "echo 'int main(void) { return 0; }' > main.c; echo > main",
        &["gcc", "-O2", "-o", "main", "main.c"],
    ),
    (
        "mkdir d; echo 1 > d/a; echo 2 > d/b",
        &["tar", "czf", "d.tgz", "d"],
    ),
    (
        "cp -r $SKILLS/skill-creator .; mkdir one; printf -- '---\\nname: one\\ndescription: One.\\n---\\n' > one/SKILL.md",
        &[
            "python3",
            "skill-creator/scripts/package_skill.py",
            "one",
            "dist",
        ],
    ),
    (
        "cp -r $SKILLS/meme-maker .",
        &[
            "node",
            "meme-maker/scripts/meme.mjs",
            "suggest",
            "hard",
            "--json",
        ],
    ),
    (
        "cp -r $SKILLS/video-frames .; ffmpeg -loglevel error -f lavfi -i testsrc=duration=1:size=64x64:rate=5 in.mkv",
        &[
            "bash",
            "video-frames/scripts/frame.sh",
            "in.mkv",
            "--out",
            "out/frame.jpg",
        ],
    ),
    (
        "sqlite3 db 'create table t(a)'",
        &[
            "sqlite3",
            "db",
            "insert into t values (1); select count(*) > 0 from t",
        ],
    ),
];

/// Learns some of the skills, and runs each as often as this.
fn stay_unflagged(skills: &[Skill], repeats: usize) {
    let published = packages::skill("skill-creator");
    let published = published.parent().expect("a directory");
    by_probes(|workspace| {
        for (prepare, words) in skills {
            let directory = workspace.work();
            for entry in fs::read_dir(&directory).expect("it is there").flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => fs::remove_dir_all(path).expect("it is removed"),
                    false => fs::remove_file(path).expect("it is removed"),
                }
            }
            workspace.write("work/skill.py", SKILL);
            let mut shell = workspace.command("sh");
            let prepared = shell
                .env("SKILLS", published)
                .args(["-euc", prepare])
                .output();
            let prepared = prepared.expect("sh starts");
            assert!(prepared.status.success(), "{prepare}: {}", text(&prepared));
            learn(workspace, words);
            for _ in 0..repeats {
                let output = run(workspace, "skill.yaml", "permissive", words).output();
                let output = output.expect("aegis-run starts");
                let found = anomalies(&reported(workspace));
                assert!(found.is_empty(), "{words:?}: {found:?}");
                assert_eq!(
                    output.status.code(),
                    Some(0),
                    "{words:?}: {}",
                    text(&output)
                );
            }
        }
    });
}

#[test]
fn what_a_learnt_skill_always_did_is_not_flagged() {
    stay_unflagged(&SKILLS[..6], 3);
}

#[test]
fn what_a_published_skill_always_did_is_not_flagged() {
    stay_unflagged(&SKILLS[6..], 2);
}
