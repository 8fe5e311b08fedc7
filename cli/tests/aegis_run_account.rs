//! What `aegis-run` leaves behind: the report of a run, and its records in the log.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::place::Place;
use crate::support::{status, stderr};

#[test]
fn a_profile_that_cannot_be_enforced_leaves_a_record() {
    let place = Place::new();
    place.write(
        "names.yaml",
        "aegis: 1\nname: job\ncapabilities: {net.outbound: [\"tcp://a.example:53\"]}\n",
    );
    place.write(
        "own.yaml",
        &format!(
            "aegis: 1\nname: job\ncapabilities: {{files.read: [{}]}}\n",
            place.log().parent().expect("a directory").display()
        ),
    );
    for (profile, why) in [
        ("names.yaml", "port 53 of a.example cannot be enforced"),
        ("own.yaml", "which is Aegis's own"),
    ] {
        let _ = fs::remove_dir_all(place.log());
        place.forget();
        let output = place.run(&["--profile", profile, "--", "touch", "started"]);
        assert_eq!(status(&output), 125, "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
        let records = place.records();
        let types: Vec<&str> = (records.iter())
            .filter_map(|record| record["type"].as_str())
            .collect();
        assert_eq!(
            types,
            ["checkpoint", "policy.violation", "run.end", "checkpoint"]
        );
        let (refused, end) = (&records[1]["detail"], &records[2]["detail"]);
        assert_eq!(refused["file"], profile);
        assert_eq!(refused["context"]["profile"], "job");
        for error in [&refused["error"], &end["error"]] {
            assert!(error.as_str().is_some_and(|e| e.contains(why)), "{error}");
        }
        assert_eq!(
            (&end["cause"], &end["exit_status"]),
            (&"refused".into(), &125.into())
        );
        assert_eq!(records[1]["run"], records[2]["run"]);
    }
    // A misspelt word is not a refusal, and explaining a plan is not a run.
    let _ = fs::remove_dir_all(place.log());
    assert_eq!(status(&place.run(&["--", "no-such-command"])), 127);
    assert_eq!(
        status(&place.run(&["--explain", "--profile", "names.yaml", "--", "true"])),
        125
    );
    let records = place.records();
    assert!(records.iter().all(|record| record["type"] == "checkpoint"));
}

#[test]
fn what_is_recorded_is_as_the_schema_of_events_says() {
    let place = Place::new();
    let rules = include_str!("../../tests/policies/everything.yaml");
    let asks = "  - {id: asks, on: files.read, match: /etc/hostname, verdict: review}\n";
    place.write("asks.yaml", &format!("{rules}{asks}"));
    place.write(
        "names.yaml",
        "aegis: 1\ncapabilities: {net.outbound: [\"tcp://a.example:53\"]}\n",
    );
    let write = "echo x > out; echo y > /usr/out";
    let reads = "capabilities.files.read=[/etc/hostname]";
    for words in [
        &["true"][..],
        &["sh", "-c", write],
        &["--policy", "asks.yaml", "--set", reads, "--", "true"],
        &["--profile", "names.yaml", "--", "true"],
    ] {
        place.run(words);
    }
    let schema = include_str!("../../audit/schemas/events.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::draft202012::new(&schema).expect("a schema");
    let mut forms = Vec::new();
    for record in place.records() {
        let line = serde_json::json!({"hash": record["prev"], "record": record});
        if let Err(wrong) = schema.validate(&line) {
            panic!("{}: {wrong}: {record:#}", wrong.instance_path());
        }
        let of = |name: &str| record["detail"].get(name).is_some();
        let form = ["answer", "from", "context", "layer", "argv", "cause"]
            .into_iter()
            .find(|name| of(name));
        forms.extend(form.map(|form| format!("{} with {form}", record["type"])));
    }
    forms.sort_unstable();
    forms.dedup();
    assert_eq!(
        forms,
        [
            "\"approval\" with answer",
            "\"file.access\" with layer",
            "\"policy.violation\" with context",
            "\"policy.violation\" with from",
            "\"run.end\" with cause",
            "\"run.start\" with argv",
        ]
    );
}

#[test]
fn a_report_is_a_private_file_put_in_place_whole() {
    let place = Place::new();
    place.write("report.json", "something old");
    assert_eq!(status(&place.run(&["--report", "report.json", "false"])), 1);
    let report = place.report("report.json");
    assert_eq!(report["exit_status"], 1);
    assert_eq!(report["command"][0], "false");
    assert_eq!(report["plan_hash"].as_str().map(str::len), Some(64));
    let path = place.0.path().join("report.json");
    assert_eq!(
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(place.0.path()).expect("a listing").count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_report_goes_not_through_a_link() {
    let place = Place::new();
    place.write("precious", "mine");
    std::os::unix::fs::symlink("precious", place.0.path().join("report.json")).expect("a link");
    place.run(&["--report", "report.json", "true"]);
    assert_eq!(
        fs::read(place.0.path().join("precious")).expect("a file"),
        b"mine"
    );
    assert_eq!(place.report("report.json")["exit_status"], 0);
}

#[test]
fn a_report_on_standard_output_comes_after_the_command() {
    for place_of in ["-", "/dev/stdout", "/dev/fd/1"] {
        let output = Place::new().run(&["--report", place_of, "echo", "first"]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (first, report) = text.split_once('\n').expect("two parts");
        assert_eq!(first, "first");
        let report: serde_json::Value = serde_json::from_str(report).expect("JSON");
        assert_eq!(report["exit_status"], 0);
    }
}

#[test]
fn a_report_that_finds_no_room_fails_a_run_that_succeeded() {
    let place = Place::new();
    let run = |words: &[&str]| {
        let full = std::fs::File::create("/dev/full").expect("/dev/full");
        let mut command = place.command();
        command.args(["--report", "-", "--profile", "shell", "sh", "-c"]);
        let child = command
            .args(words)
            .stdout(full)
            .stderr(std::process::Stdio::piped());
        child
            .spawn()
            .expect("it starts")
            .wait_with_output()
            .expect("it ends")
    };
    let output = run(&["exit 0"]);
    assert_eq!(status(&output), 125);
    assert!(
        stderr(&output).contains("could not be written"),
        "{}",
        stderr(&output)
    );
    assert_eq!(status(&run(&["exit 3"])), 3);
}
