//! Published skills, unchanged, of two collections (both MIT): what `features/skills.rs` has of the first is learnt there, too.

use std::path::PathBuf;

use aegis_tests::packages::{other_skill, skill};
use aegis_tests::workload::copy;

use super::*;

/// Learns each in `$WORK`, where its collection has been copied.
fn skills_are_learnt(of: fn(&str) -> PathBuf, skills: &[(&str, Program)]) {
    for (number, (name, program)) in skills.iter().enumerate() {
        let learner = LEARNERS[number % LEARNERS.len()];
        learning(learner, |workspace| {
            copy(workspace, &of(name), &workspace.work().join(name));
            is_learnt(workspace, learner, program, &[]);
        });
    }
}

#[test]
fn skills_of_a_first_collection_work_under_what_was_learnt() {
    skills_are_learnt(
        skill,
        &[
            (
                "skill-creator",
                Program {
                    name: "skill-creator",
                    prepare: "mkdir -p one; printf -- '---\\nname: one\\ndescription: Says one.\\n---\\n# One\\n' > one/SKILL.md; cp -r one wanted",
                    change: "mkdir wanted/scripts; printf '#!/bin/sh\\n' > wanted/scripts/run.sh; seq 10000 > wanted/long.md",
                    command: &["python3", "skill-creator/scripts/package_skill.py", "wanted", "dist"],
                    check: "python3 -m zipfile -l dist/wanted.skill | grep -q run.sh",
                },
            ),
            (
                "model-usage",
                Program {
                    name: "model-usage",
                    prepare: "echo '[{\"provider\": \"codex\", \"daily\": []}]' > costs.json",
                    change: "echo '[{\"provider\": \"codex\", \"daily\": [{\"date\": \"2026-01-01\", \"modelBreakdowns\": [{\"modelName\": \"small\", \"cost\": 1.5}]}]}]' > costs.json",
                    command: &[
                        "sh", "-c", "python3 model-usage/scripts/model_usage.py --input costs.json --mode all --format json > sums || test -s costs.json",
                    ],
                    check: "grep -q 1.5 sums",
                },
            ),
            (
                "meme-maker",
                Program {
                    name: "meme-maker",
                    prepare: "echo 'a hard choice' > wish",
                    change: "echo 'everything is on fire' > wish",
                    command: &[
                        "sh", "-c", "node meme-maker/scripts/meme.mjs suggest \"$(cat wish)\" --limit 3 --json > ideas",
                    ],
                    check: "test -s ideas",
                },
            ),
            (
                "openai-whisper-api",
                Program {
                    name: "openai-whisper-api",
                    prepare: "mkdir -p service/audio; echo '{\"text\": \"hello\"}' > service/audio/transcriptions; echo RIFF > talk.wav",
                    change: "printf '{\"text\": \"%s\"}' \"$(seq -s ' ' 2000)\" > service/audio/transcriptions; seq 10000 > talk.wav",
                    command: &[
                        "sh", "-c", "OPENAI_API_KEY=placeholder OPENAI_BASE_URL=file://$PWD/service/ bash openai-whisper-api/scripts/transcribe.sh talk.wav --out out/talk.txt",
                    ],
                    check: "grep -q 1999 out/talk.txt",
                },
            ),
            (
                "tmux",
                Program {
                    name: "tmux",
                    prepare: "echo 'step one' > lines",
                    change: "seq -f 'step %.0f' 20 > lines",
                    command: &[
                        "sh", "-ec", "tmux -f /dev/null new-session -d -s build 'cat lines; exec cat'
                        bash tmux/scripts/wait-for-text.sh -t build -p 'step (one|20)' -i 0.1; bash tmux/scripts/find-sessions.sh > sessions; tmux kill-server",
                    ],
                    check: "grep -q build sessions",
                },
            ),
            (
                "video-frames",
                Program {
                    name: "video-frames",
                    prepare: "ffmpeg -loglevel error -f lavfi -i testsrc=duration=1:size=64x64:rate=5 in.mp4",
                    change: "ffmpeg -y -loglevel error -f lavfi -i mandelbrot=size=160x120:rate=10 -t 1 in.mp4",
                    command: &["bash", "video-frames/scripts/frame.sh", "in.mp4", "--index", "1", "--out", "out/frame.jpg"],
                    check: "ffprobe -loglevel error out/frame.jpg",
                },
            ),
        ],
    );
}

#[test]
fn skills_of_a_second_collection_work_under_what_was_learnt() {
    skills_are_learnt(
        other_skill,
        &[
            (
                "storyboard-manager",
                Program {
                    name: "storyboard-manager",
                    prepare: "mkdir -p story/chapters story/characters; printf '# One\\n\\nDay 1. Ada, age 20, wakes.\\n' > story/chapters/chapter-1.md",
                    change: "printf '# Two\\n\\nDay 2. Ada, age 19, sleeps. The next morning she leaves.\\n' > story/chapters/chapter-2.md; echo '# Ada' > story/characters/ada.md",
                    command: &[
                        "sh",
                        "-c",
                        "python3 storyboard-manager/scripts/timeline_tracker.py story --output json > timeline",
                    ],
                    check: "test -s timeline",
                },
            ),
            (
                "test-specialist",
                Program {
                    name: "test-specialist",
                    prepare: "mkdir -p src; echo 'export const a = 1' > src/a.ts",
                    change: "mkdir -p src/deep/er; echo 'export const b = 1' > src/deep/er/b.ts; echo 'test()' > src/a.test.ts",
                    command: &[
                        "sh",
                        "-c",
                        "python3 test-specialist/scripts/find_untested_code.py src > report || test -s report",
                    ],
                    check: "grep -q b.ts report",
                },
            ),
            (
                "tech-debt-analyzer",
                Program {
                    name: "tech-debt-analyzer",
                    prepare: "mkdir -p src; echo 'let a = 1 // TODO' > src/a.js",
                    change: "mkdir -p src/x; { seq -f '// TODO %.0f' 50; seq -f 'const a%.0f = (1 as any)' 1000; } > src/x/large.ts",
                    command: &[
                        "sh",
                        "-c",
                        "python3 tech-debt-analyzer/scripts/detect_code_smells.py src > report || test -s report",
                    ],
                    check: "grep -q large.ts report",
                },
            ),
            (
                "seo-optimizer",
                Program {
                    name: "seo-optimizer",
                    prepare: "mkdir -p site; echo '<title>a</title>' > site/index.html",
                    change: "mkdir -p site/more; echo '<title>b</title>' > site/more/other.html",
                    command: &[
                        "sh",
                        "-c",
                        "python3 seo-optimizer/scripts/generate_sitemap.py \"$PWD/site\" https://example.org site/sitemap.xml",
                    ],
                    check: "grep -q more/other site/sitemap.xml",
                },
            ),
            (
                "nutritional-specialist",
                Program {
                    name: "nutritional-specialist",
                    prepare: "echo get > wishes",
                    change: "echo display > wishes; mkdir -p ~/.claude; echo '{\"goal\": \"run\"}' > ~/.claude/nutritional_preferences.json",
                    command: &[
                        "sh",
                        "-ec",
                        "python3 nutritional-specialist/scripts/preferences_manager.py reset > said; python3 nutritional-specialist/scripts/preferences_manager.py \"$(cat wishes)\" > known",
                    ],
                    check: "test -s known",
                },
            ),
            (
                "script-writer",
                Program {
                    name: "script-writer",
                    prepare: "echo stats > wish",
                    change: "echo get_scripts > wish",
                    command: &[
                        "sh",
                        "-ec",
                        "python3 script-writer/scripts/script_db.py \"$(cat wish)\" > said",
                    ],
                    check: "test -s said",
                },
            ),
        ],
    );
}
