//! Published skills, unchanged: those in the npm package `openclaw` (MIT) that come with scripts.

use std::path::Path;

use aegis_tests::Workspace;
use aegis_tests::packages::skill;
use aegis_tests::workload::{Finished, Workload, age};

fn under(profile: &str, name: &str) -> Workload {
    Workload::new(&format!("tests/profiles/skills/{profile}.yaml")).skill(&skill(name))
}

/// Somebody's skill, in `$WORK`.
fn sample(workspace: &Workspace) {
    workspace.write(
        "work/sample/SKILL.md",
        "---\nname: sample\ndescription: Says what a sample says.\nmetadata: {openclaw: {emoji: x}}\n---\n# Sample\n",
    );
    workspace.write("work/sample/scripts/run.sh", "#!/bin/sh\necho sample\n");
    workspace.write(
        "work/sample/references/long.md",
        "All work and no play.\n".repeat(500),
    );
    workspace.write("work/sample/.git/config", "[core]\n");
    workspace.write(
        "work/broken/SKILL.md",
        "---\nname: Not Hyphenated\ndescription: x\n---\n",
    );
    age(&workspace.work());
}

fn succeeds(outcome: &Finished, says: &str) {
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains(says), "{}", outcome.stdout);
}

#[test]
fn skill_creator_validates_a_skill_the_same() {
    under("skill-creator", "skill-creator")
        .prepare(sample)
        .runs_the_same(
            &["python3", "{skill}/scripts/quick_validate.py", "sample"],
            |outcome| succeeds(outcome, "Skill is valid!"),
        );
}

#[test]
fn skill_creator_refuses_a_broken_skill_the_same() {
    under("skill-creator", "skill-creator")
        .prepare(sample)
        .runs_the_same(
            &["python3", "{skill}/scripts/quick_validate.py", "broken"],
            |outcome| {
                assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
                assert!(
                    outcome.stdout.contains("should be hyphen-case"),
                    "{}",
                    outcome.stdout
                );
            },
        );
}

#[test]
fn the_profile_of_the_quick_start_validates_skills_the_same() {
    let creator = skill("skill-creator");
    Workload::new("examples/skill-creator/skill.yaml")
        .prepare(move |workspace| {
            sample(workspace);
            let to = workspace.work().join("skill-creator");
            aegis_tests::workload::copy(workspace, &creator, &to);
        })
        .runs_the_same(
            &[
                "python3",
                "skill-creator/scripts/quick_validate.py",
                "sample",
            ],
            |outcome| succeeds(outcome, "Skill is valid!"),
        );
}

#[test]
fn skill_creator_packages_a_skill_the_same() {
    under("skill-creator", "skill-creator")
        .prepare(sample)
        .runs_the_same(
            &[
                "python3",
                "{skill}/scripts/package_skill.py",
                "sample",
                "dist",
            ],
            |outcome| {
                succeeds(outcome, "Added: sample/scripts/run.sh");
                let archive = &outcome.files[Path::new("dist/sample.skill")].content;
                assert!(
                    archive.starts_with(b"PK") && !archive.windows(4).any(|part| part == b".git")
                );
            },
        );
}

#[test]
fn skill_creator_begins_a_skill_the_same() {
    under("skill-creator", "skill-creator").runs_the_same(
        &[
            "python3",
            "{skill}/scripts/init_skill.py",
            "My New Skill",
            "--path",
            "skills",
            "--resources",
            "scripts,references,assets",
            "--examples",
        ],
        |outcome| {
            succeeds(outcome, "Normalized skill name");
            let script = &outcome.files[Path::new("skills/my-new-skill/scripts/example.py")];
            assert_eq!(script.mode & 0o777, 0o755);
        },
    );
}

#[test]
fn the_skills_own_tests_pass_the_same() {
    for (profile, name, script) in [
        ("skill-creator", "skill-creator", "test_package_skill.py"),
        ("skill-creator", "skill-creator", "test_quick_validate.py"),
        ("model-usage", "model-usage", "test_model_usage.py"),
    ] {
        let command = format!(
            "python3 '{{skill}}/scripts/{script}' 2>&1 > /dev/null | sed 's/ in [0-9.]*s$//'"
        );
        under(profile, name)
            .set("capabilities.shell.exec=[sh, sed]")
            .runs_the_same(&["sh", "-c", &command], |outcome| {
                succeeds(outcome, "\nOK\n");
                assert!(outcome.stdout.contains("Ran "), "{}", outcome.stdout);
            });
    }
}

const COSTS: &str = r#"[{"provider": "codex", "daily": [
    {"date": "2026-01-01", "modelBreakdowns": [{"modelName": "small", "cost": 1.25}, {"modelName": "large", "cost": 10.5}]},
    {"date": "2026-01-02", "modelBreakdowns": [{"modelName": "small", "cost": 0.5}]}]}]"#;

#[test]
fn model_usage_sums_up_costs_the_same() {
    let script = "{skill}/scripts/model_usage.py";
    let prepare = |workspace: &Workspace| {
        workspace.write("work/costs.json", COSTS);
    };
    under("model-usage", "model-usage")
        .prepare(prepare)
        .runs_the_same(
            &[
                "python3",
                script,
                "--input",
                "costs.json",
                "--mode",
                "all",
                "--format",
                "json",
                "--pretty",
            ],
            |outcome| succeeds(outcome, "\"totalCostUSD\": 10.5"),
        );
    under("model-usage", "model-usage")
        .stdin(COSTS)
        .runs_the_same(&["python3", script, "--input", "-"], |outcome| {
            succeeds(outcome, "Current model: small")
        });
}

#[test]
fn model_usage_misses_its_program_the_same() {
    under("model-usage", "model-usage").runs_the_same(
        &["python3", "{skill}/scripts/model_usage.py"],
        |outcome| {
            assert_eq!(outcome.status, Some(1));
            assert!(
                outcome.stderr.contains("codexbar not found on PATH"),
                "{}",
                outcome.stderr
            );
        },
    );
}

#[test]
fn meme_maker_suggests_and_draws_the_same() {
    let script = "{skill}/scripts/meme.mjs";
    let suggest = [
        "node",
        script,
        "suggest",
        "a hard choice",
        "--limit",
        "3",
        "--json",
    ];
    under("meme-maker", "meme-maker").runs_the_same(&suggest, |outcome| {
        succeeds(outcome, "\"id\": \"two-buttons\"")
    });
    under("meme-maker", "meme-maker")
        .env("XDG_CACHE_HOME", "{work}/cache")
        .prepare(|workspace| {
            workspace.write(
                "work/cache/openclaw/meme-maker/drake-181913649.jpg",
                b"\xff\xd8 a picture",
            );
        })
        .runs_the_same(
            &[
                "node",
                script,
                "render",
                "drake",
                "--text",
                "Any authority",
                "--text",
                "What is declared & no more",
                "--out",
                "out/meme.svg",
            ],
            |outcome| {
                succeeds(outcome, "out/meme.svg (");
                let picture = &outcome.files[Path::new("out/meme.svg")].content;
                let picture = String::from_utf8_lossy(picture);
                assert!(picture.contains("declared &amp; no"), "{picture}");
            },
        );
}

#[test]
fn tmux_starts_finds_and_waits_for_sessions_the_same() {
    let script = r#"
        set -e
        mkdir sockets
        tmux -f /dev/null new-session -d -s build 'printf "step one\nstep two\n"; exec cat'
        tmux new-session -d -s server 'exec cat'
        {skill}/scripts/wait-for-text.sh -t build -p 'step (two|2)' -i 0.1
        {skill}/scripts/find-sessions.sh
        {skill}/scripts/find-sessions.sh -q BUILD
        {skill}/scripts/find-sessions.sh -L other || echo "none there: $?"
        {skill}/scripts/wait-for-text.sh -t server -F -p never -T 0 || echo "timed out: $?"
        tmux kill-server
    "#;
    under("tmux", "tmux")
        .env("TMUX_TMPDIR", "{work}/sockets")
        // Below it is a directory named after the number of the user.
        .ignoring(|path| path.starts_with("sockets") && path != Path::new("sockets"))
        .cannot_be_learnt(
            "its sockets are to lie in the working directory, where a learning run has none",
        )
        .runs_the_same(&["bash", "-c", script], |outcome| {
            succeeds(outcome, "Sessions on default socket:\n  - build");
            assert!(
                outcome.stdout.contains("none there: 1\ntimed out: 1\n"),
                "{}",
                outcome.stdout
            );
            assert!(
                outcome.stderr.contains("Timed out after 0s"),
                "{}",
                outcome.stderr
            );
        });
}

#[test]
fn openai_whisper_api_writes_a_transcript_the_same() {
    under("transcribe", "openai-whisper-api")
        .env("OPENAI_API_KEY", "placeholder")
        // The service's answer is in a file: there is no network in the sandbox.
        .env("OPENAI_BASE_URL", "file://{work}/service/")
        .prepare(|workspace| {
            workspace.write("work/talk.wav", b"RIFF....WAVE");
            workspace.write(
                "work/service/audio/transcriptions",
                r#"{"segments": [{"speaker": "A", "text": " hello "}, {"speaker": "B", "text": "good day"}]}"#,
            );
        })
        .runs_the_same(
            &["bash", "{skill}/scripts/transcribe.sh", "talk.wav", "--model", "gpt-4o-transcribe-diarize", "--out", "out/talk.txt"],
            |outcome| {
                succeeds(outcome, "out/talk.txt\n");
                assert_eq!(outcome.files[Path::new("out/talk.txt")].content, b"A: hello\nB: good day");
            },
        );
}

#[test]
fn openai_whisper_api_asks_for_its_key_the_same() {
    under("transcribe", "openai-whisper-api")
        .prepare(|workspace| {
            workspace.write("work/talk.wav", b"RIFF....WAVE");
        })
        .runs_the_same(
            &["bash", "{skill}/scripts/transcribe.sh", "talk.wav"],
            |outcome| {
                assert_eq!(outcome.status, Some(1));
                assert_eq!(outcome.stderr, "Missing OPENAI_API_KEY\n");
            },
        );
}
