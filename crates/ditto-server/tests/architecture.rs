//! Arrows point one way: between the crates, and between the modules of the server. A new arrow is a
//! decision, so it begins here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Our crates with what of ours they depend on, as `crate` or `crate for tests`, and the features.
fn dependencies() -> BTreeMap<String, Vec<(String, Vec<String>)>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|p| (text(&p["name"]), ours(p)))
        .collect()
}

fn ours(package: &Value) -> Vec<(String, Vec<String>)> {
    let all = package["dependencies"].as_array().unwrap().iter();
    let mut ours: Vec<_> = all
        .filter(|dependency| !dependency["path"].is_null())
        .map(|dependency| {
            let name = text(&dependency["name"]);
            let name = match dependency["kind"].as_str() {
                None => name,
                Some(_) => format!("{name} for tests"),
            };
            let mut features: Vec<_> = dependency["features"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect();
            if dependency["uses_default_features"] == true {
                features.push("default".to_owned());
            }
            (name, features)
        })
        .collect();
    ours.sort();
    ours
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn crates_depend_on_each_other_one_way() {
    let seen = dependencies();
    let names = |name: &str| {
        seen[name]
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("ditto-batch"),
        ["ditto-llm", "ditto-server", "ditto-sim"]
    );
    assert_eq!(names("ditto-server"), ["ditto-llm", "ditto-sim for tests"]);
    assert_eq!(names("ditto-llm"), [""; 0]);
    assert_eq!(names("ditto-sim"), ["ditto-llm for tests"]);
}

#[test]
fn the_server_takes_types_and_checks_of_the_sdk_and_no_client() {
    let server = &dependencies()["ditto-server"];
    let (_, features) = server.iter().find(|(name, _)| name == "ditto-llm").unwrap();
    assert_eq!(
        *features,
        ["schema"],
        "a provider feature would bring its HTTP client"
    );
}

/// What each part of the server may name, itself and the plain types beside the parts not counted.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("manifest", &[]),
    ("folder", &[]),
    ("catalog", &["manifest", "model"]),
    ("budget", &[]),
    ("spool", &[]),
    ("blobs", &["folder", "manifest"]),
    ("journal", &["budget", "catalog", "folder"]),
    ("upstream", &["budget", "model", "spool"]),
    ("hold", &[]),
    ("backup", &["blobs", "catalog", "hold", "journal", "owner"]),
    ("owner", &[]),
    ("space", &["model"]),
    (
        "sweep",
        &["blobs", "catalog", "folder", "hold", "journal", "model"],
    ),
    (
        "engine",
        &[
            "blobs", "budget", "catalog", "hold", "journal", "manifest", "model", "spool", "sweep",
            "upstream",
        ],
    ),
    (
        "service",
        &[
            "blobs", "budget", "catalog", "engine", "manifest", "model", "space",
        ],
    ),
    ("http", &["service"]),
];
/// What any part may name: values without behaviour of their own. `model` may not.
const PLAIN: &[&str] = &["clock", "config", "error", "id", "secret"];

#[test]
fn modules_of_the_server_name_each_other_one_way() {
    for (part, may) in ARROWS {
        let mut allowed: BTreeSet<_> = may.iter().chain([part]).copied().collect();
        if *part != "model" {
            allowed.extend(PLAIN);
        }
        for (file, names) in named_by(part) {
            let wrong: Vec<_> = names
                .iter()
                .filter(|n| !allowed.contains(n.as_str()))
                .collect();
            assert!(wrong.is_empty(), "{} names {wrong:?}", file.display());
        }
    }
}

#[test]
fn the_model_names_the_standard_library_and_the_wire_only() {
    for file in files_of("model") {
        for line in code(&file).lines().map(str::trim) {
            let Some(path) = line.strip_prefix("use ") else {
                continue;
            };
            let fits = [
                "std::",
                "ditto_llm::wire::",
                "super::",
                "proptest::",
                "BatchState ",
            ];
            assert!(
                fits.iter().any(|start| path.starts_with(start)),
                "{}: {line}",
                file.display()
            );
        }
    }
}

#[test]
fn every_file_is_named_by_a_module() {
    for krate in ["ditto-llm", "ditto-server", "ditto-sim", "ditto-batch"] {
        let source = Path::new(CRATES).join(krate).join("src");
        for file in rust_files(&source) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let folder = file.parent().unwrap();
            let is_root = folder == source && matches!(name, "lib" | "main");
            let (name, folder) = match name {
                "mod" => (
                    folder.file_name().unwrap().to_str().unwrap(),
                    folder.parent().unwrap(),
                ),
                _ => (name, folder),
            };
            assert!(
                is_root || is_named(name, folder),
                "no module names {}",
                file.display()
            );
        }
    }
}

/// Whether the module that this folder belongs to has a `mod` of this name.
fn is_named(name: &str, folder: &Path) -> bool {
    let beside = folder.with_extension("rs");
    let parents = ["mod.rs", "lib.rs", "main.rs"].map(|file| folder.join(file));
    parents
        .into_iter()
        .chain([beside])
        .filter(|file| file.exists())
        .any(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.lines()
                .any(|line| line.trim_end().ends_with(&format!("mod {name};")))
        })
}

/// By file of a part: the first words behind `crate::`.
fn named_by(part: &str) -> BTreeMap<PathBuf, BTreeSet<String>> {
    let first_words = |file: &Path| {
        let text = code(file);
        let behind = text.split("crate::").skip(1);
        let word = |rest: &str| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        // A group, `crate::{…}`, would hide its words: nobody writes one.
        behind
            .map(word)
            .inspect(|word| assert!(!word.is_empty(), "{}", file.display()))
            .collect()
    };
    files_of(part)
        .into_iter()
        .map(|file| (file.clone(), first_words(&file)))
        .collect()
}

/// The part's files, without those of its tests: a test may go through the whole server.
fn files_of(part: &str) -> Vec<PathBuf> {
    let source = Path::new(SOURCE);
    let mut files = rust_files(&source.join(part));
    let single = source.join(part).with_extension("rs");
    files.extend(single.exists().then_some(single));
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "tests"));
    assert!(!files.is_empty(), "there is no {part}");
    files
}

/// A file's code without comments and without what stands in its module of tests.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = before_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
