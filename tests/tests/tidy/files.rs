//! What stands in the files: lints on everywhere, no test program forgotten, nothing from outside the repository needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{packages, root};

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
    for (name, package) in packages() {
        let text = fs::read_to_string(&package.manifest).unwrap();
        assert!(
            text.contains("\n[lints]\nworkspace = true\n"),
            "{name} does not take the lints of the workspace"
        );
    }
}

/// Files under version control; none outside of a checkout, where the other tests still hold.
fn committed() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Ok(output) = output else { return Vec::new() };
    let names = String::from_utf8(output.stdout).unwrap();
    names.split('\0').filter(|name| !name.is_empty()).map(|name| root().join(name)).collect()
}

#[test]
fn no_file_needs_a_folder_beside_the_repository() {
    let files = committed();
    assert!(files.len() > 20 || !root().join(".git").exists(), "git lists only {} files", files.len());
    for file in files {
        // A file can be listed and already removed by an uncommitted change.
        let Ok(bytes) = fs::read(&file) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for foreign in [concat!("..", "/shared"), concat!("/work", "/"), concat!("/tmp", "/brief")] {
            assert!(!text.contains(foreign), "{} mentions {foreign}", file.display());
        }
    }
}

fn modules(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "main" && (path.is_dir() || path.extension().is_some_and(|extension| extension == "rs")) {
            names.push(name);
        }
    }
    names
}

#[test]
fn every_test_file_is_part_of_a_program() {
    let tests = root().join("tests/tests");
    let mut programs = 0;
    for entry in fs::read_dir(&tests).unwrap() {
        let dir = entry.unwrap().path();
        let main = dir.join("main.rs");
        let text = fs::read_to_string(&main).unwrap_or_else(|error| {
            panic!("{}: a test program is a folder with a main.rs: {error}", dir.display())
        });
        for module in modules(&dir) {
            assert!(text.contains(&format!("mod {module};")), "{} does not declare {module}", main.display());
        }
        programs += 1;
    }
    assert!(programs >= 2, "only {programs} programs");
}
