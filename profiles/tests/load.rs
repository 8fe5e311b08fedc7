//! Loading: references, `extends`, merging, `--set`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aegis_profile::{
    Error, Files, LimitKey, Loaded, Outbound, ReadError, Source, load, load_with, parse_str,
};

/// Files in memory, in the directory `/skills`.
#[derive(Default)]
struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    fn with(files: &[(&str, &str)]) -> Self {
        Self(
            files
                .iter()
                .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
                .collect(),
        )
    }
}

impl Source for Memory {
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.0
            .get(path)
            .map(|text| text.clone().into_bytes())
            .ok_or(ReadError::NotFound)
    }
    fn read_stdin(&self) -> Result<Vec<u8>, ReadError> {
        self.read(Path::new("-"))
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
    fn absolute(&self, path: &Path) -> PathBuf {
        Path::new("/cwd").join(path)
    }
}

fn loaded(files: &[(&str, &str)]) -> Loaded {
    load(files[0].0, &Memory::with(files)).unwrap()
}

fn refused(files: &[(&str, &str)]) -> Error {
    load(files[0].0, &Memory::with(files)).unwrap_err()
}

fn reads(loaded: &Loaded) -> Vec<String> {
    loaded
        .profile
        .capabilities
        .files_read
        .iter()
        .map(|p| p.value.to_string())
        .collect()
}

#[test]
fn every_builtin_profile_loads_and_is_named_after_itself() {
    for name in aegis_profile::builtin::names() {
        let loaded = load(name, &Files).unwrap();
        assert_eq!(loaded.profile.name, name);
        assert!(
            loaded.profile.description.is_some(),
            "{name} says what it is for"
        );
        assert_eq!(loaded.skill_dir, None);
    }
}

#[test]
fn a_file_comes_after_what_it_extends_and_keeps_the_first_origin() {
    let loaded = loaded(&[
        (
            "a/top.yaml",
            "aegis: 1\nextends: [../b/one.yaml, ./two.yml]\ncapabilities:\n  files.read: [/x, /one]\n",
        ),
        (
            "a/../b/one.yaml",
            "aegis: 1\ncapabilities: {files.read: [/one]}\nlimits: {time: 1s, pids: 1}",
        ),
        (
            "a/./two.yml",
            "aegis: 1\ncapabilities: {files.read: [/two]}\nlimits: {time: 2s}",
        ),
    ]);
    assert_eq!(reads(&loaded), ["/one", "/two", "/x"]);
    let one = &loaded.profile.capabilities.files_read[0].origin;
    assert_eq!(one.to_string(), "a/../b/one.yaml:2:29");
    let limits = &loaded.profile.limits;
    assert_eq!(limits.value(LimitKey::Time), Some(2000));
    assert_eq!(limits.value(LimitKey::Pids), Some(1));
    assert_eq!(loaded.profile.name, "top");
    assert_eq!(loaded.profile.sources.len(), 3);
}

#[test]
fn skill_is_the_directory_of_the_file_that_the_user_named() {
    let text = "aegis: 1\n";
    assert_eq!(
        loaded(&[("x.yaml", text)]).skill_dir.unwrap(),
        Path::new("/cwd/.")
    );
    assert_eq!(
        loaded(&[("dir/x", text)]).skill_dir.unwrap(),
        Path::new("/cwd/dir")
    );
    assert_eq!(
        loaded(&[("/abs/x.yml", text)]).skill_dir.unwrap(),
        Path::new("/abs")
    );
    assert_eq!(loaded(&[("-", text)]).skill_dir, None);
}

#[test]
fn a_required_entry_wins_over_an_optional_one_and_keeps_its_place() {
    let loaded = loaded(&[
        (
            "./t",
            "aegis: 1\nextends: [./b.yaml]\ncapabilities: {files.read: [/a, -/z], shell.exec: [-git]}",
        ),
        (
            "./b.yaml",
            "aegis: 1\ncapabilities: {files.read: [-/a, /z], shell.exec: [git]}",
        ),
    ]);
    assert_eq!(reads(&loaded), ["/a", "/z"]);
    assert_eq!(
        loaded.profile.capabilities.shell_exec[0].value.to_string(),
        "git"
    );
}

#[test]
fn outbound_none_written_out_closes_what_was_extended() {
    let base = ("./b.yaml", "aegis: 1\ncapabilities: {net.outbound: host}");
    let with = |text| {
        loaded(&[("./t", text), base])
            .profile
            .capabilities
            .net_outbound
    };
    let said = "aegis: 1\nextends: [./b.yaml]\ncapabilities: {net.outbound: none}";
    assert_eq!(with(said), Outbound::default());
    let silent = "aegis: 1\nextends: [./b.yaml]\n";
    assert!(matches!(with(silent), Outbound::Host(_)));
    let named = "aegis: 1\nextends: [./b.yaml]\ncapabilities: {net.outbound: [\"https://a.b\"]}";
    assert!(matches!(with(named), Outbound::Named(_)));
}

#[test]
fn profiles_that_extend_each_other_are_refused_with_the_chain() {
    let error = refused(&[
        ("./a.yaml", "aegis: 1\nextends: [./b.yaml]"),
        ("././b.yaml", ""),
        ("./b.yaml", "aegis: 1\nextends: [/abs.yaml]"),
        ("/abs.yaml", "aegis: 1\nextends: [/abs.yaml]"),
    ]);
    assert!(
        error.to_string().contains("/abs.yaml -> /abs.yaml"),
        "{error}"
    );
}

#[test]
fn a_long_chain_is_refused() {
    let mut files: Vec<(String, String)> = (0..20)
        .map(|i| {
            (
                format!("/{i}.yaml"),
                format!("aegis: 1\nextends: [/{}.yaml]", i + 1),
            )
        })
        .collect();
    files.push(("/20.yaml".into(), "aegis: 1".into()));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert!(refused(&files).to_string().contains("longer than 8"));
}

#[test]
fn many_small_files_are_refused() {
    let list: Vec<String> = (0..40).map(|i| format!("/{i}.yaml")).collect();
    let top = format!("aegis: 1\nextends: [{}]", list.join(", "));
    let mut files = vec![("/top.yaml", top.as_str())];
    files.extend(list.iter().map(|path| (path.as_str(), "aegis: 1")));
    assert!(refused(&files).to_string().contains("more than 32"));
}

#[test]
fn a_profile_extended_from_many_sides_is_read_once() {
    // 2^8 paths lead from the top to the bottom.
    let mut files = vec![(
        "/top.yaml".to_owned(),
        "aegis: 1\nextends: [/0a.yaml, /0b.yaml]".to_owned(),
    )];
    for i in 0..5 {
        for side in ["a", "b"] {
            let next = i + 1;
            files.push((
                format!("/{i}{side}.yaml"),
                format!("aegis: 1\nextends: [/{next}a.yaml, /{next}b.yaml]"),
            ));
        }
    }
    files.push(("/5a.yaml".into(), "aegis: 1".into()));
    files.push((
        "/5b.yaml".into(),
        "aegis: 1\ncapabilities: {files.read: [/deep]}".into(),
    ));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(reads(&loaded(&files)), ["/deep"]);
}

#[test]
fn an_unknown_builtin_is_answered_with_the_nearest_and_the_list() {
    let error = load("pyton", &Memory::default()).unwrap_err().to_string();
    assert!(error.contains("did you mean `python`?"), "{error}");
    assert!(
        error.contains("base, shell, python, node, git, build"),
        "{error}"
    );
    let error = load("mine", &Memory::with(&[("mine", "")]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("write `./mine`"), "{error}");
    let error = load("base.yaml", &Memory::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("write `base`"), "{error}");
}

#[test]
fn an_error_in_extends_points_at_the_line_that_extends() {
    let error = refused(&[("./a.yaml", "aegis: 1\nextends: [base, ./gone.yaml]")]);
    let place = &error.diagnostics()[0].origin;
    assert_eq!(place.to_string(), "./a.yaml:2:17");
    assert!(error.to_string().contains("there is no file"), "{error}");
}

#[test]
fn set_adds_to_lists_and_replaces_single_values() {
    let files = Memory::with(&[(
        "./a",
        "aegis: 1\nlimits: {memory: 1G}\ncapabilities: {files.read: [/a]}",
    )]);
    let sets = [
        "limits.memory=2G",
        "capabilities.files.read=[$WORK, /a]",
        "environment.set.TZ=UTC",
        "environment.pass=[LANG]",
        "run=[sh, -c, exit 3]",
        "syscalls.base=minimal",
        "name=other",
        "capabilities.secrets.use.gh={to: api.github.com, env: T}",
        "capabilities.net.outbound=host",
    ];
    let loaded = load_with("./a", &sets, &files).unwrap();
    let p = &loaded.profile;
    assert_eq!(p.limits.value(LimitKey::Memory), Some(2 << 30));
    assert_eq!(
        p.limits.get(LimitKey::Memory).unwrap().origin.to_string(),
        "--set:1:15"
    );
    assert_eq!(reads(&loaded), ["/a", "$WORK"]);
    assert_eq!(p.environment.set["TZ"].value, "UTC");
    assert_eq!(p.run, ["sh", "-c", "exit 3"]);
    assert_eq!(p.name, "other");
    let to = &p.capabilities.secrets_use["gh"].value.to;
    assert_eq!((&*to.host, to.port), ("api.github.com", 443));
    assert!(matches!(p.capabilities.net_outbound, Outbound::Host(_)));
}

#[test]
fn a_wrong_set_is_refused_with_its_place() {
    let refused = |set: &str| {
        load_with("base", &[set], &Memory::default())
            .unwrap_err()
            .to_string()
    };
    assert!(refused("limits.memroy=1G").contains("did you mean `memory`?"));
    assert!(
        refused("files.read=[/a]").contains("`files.read` belongs under `capabilities:`"),
        "{}",
        refused("files.read=[/a]")
    );
    assert!(
        refused("limits.memory=1").contains("--set:1:15"),
        "{}",
        refused("limits.memory=1")
    );
    assert!(refused("limits.memory").contains("KEY=VALUE"));
    assert!(
        refused("limits.memory=").contains("--set"),
        "{}",
        refused("limits.memory=")
    );
    assert!(refused("extends=[git]").contains("cannot be set"));
    assert!(refused("aegis=2").contains("cannot be set"));
}

#[test]
fn the_hash_is_of_the_meaning_and_not_of_the_text() {
    let hash = |text: &str| parse_str(text, "x.yaml").unwrap().hash();
    let a = hash("aegis: 1\nlimits: {time: 60s} # a minute\n");
    assert_eq!(a, hash("aegis: 1\n\nlimits:\n  time: 1m\n"));
    assert_ne!(a, hash("aegis: 1\nlimits: {time: 61s}\n"));
    assert_eq!(a.to_string().len(), 64);
}
