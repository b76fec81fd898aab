//! SECURITY.md and docs/evidence.md name tests and models as what shows a claim: each of them exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::workspace::root;

/// Pages with such names, and how many each has at least.
const PAGES: [(&str, usize); 2] = [("SECURITY.md", 50), ("docs/evidence.md", 5)];

/// Where tests of a kind stand.
fn folder(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "sim" => "tests/tests/sim",
        "e2e" => "tests/tests/e2e",
        "crash" => "tests/tests/crash",
        "faultfs" => "tests/tests/faultfs",
        "tidy" => "tests/tests/tidy",
        "daemon" => "crates/server/tests",
        "server" => "crates/server/src",
        "client" => "crates/client",
        "cli" => "crates/cli",
        "store" => "crates/store/src",
        "crypto" => "crates/crypto/src",
        "proto" => "crates/proto",
        _ => return None,
    })
}

/// `kind: name` between backticks, as the pages write it.
fn named(text: &str) -> Vec<(&str, &str)> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once(": "))
        .filter(|(kind, name)| is_word(kind) && is_word(name))
        .collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

/// The names of all tests below a folder: functions with a `test` attribute of any kind before them.
fn tests_below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(name) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn "))
                {
                    let end = name.find('(').unwrap_or(name.len());
                    if is_test {
                        found.insert(name[..end].to_owned());
                    }
                    is_test = false;
                }
            }
        }
    }
}

fn exists(kind: &str, name: &str) -> bool {
    if kind == "formal" {
        return root().join("formal").join(format!("{name}.vp")).is_file();
    }
    let folder = folder(kind).unwrap_or_else(|| panic!("`{kind}: {name}`: no such kind"));
    let mut found = BTreeSet::new();
    tests_below(&root().join(folder), &mut found);
    found.contains(name)
}

#[test]
fn every_test_that_a_page_names_exists() {
    assert!(exists("tidy", "every_test_that_a_page_names_exists"));
    assert!(!exists("tidy", "tests_below"), "a function is no test");
    for (page, least) in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let named = named(&text);
        assert!(named.len() >= least, "{page} names {} tests", named.len());
        let lost: Vec<_> = named.iter().filter(|(kind, name)| !exists(kind, name)).collect();
        assert!(lost.is_empty(), "{page} names what is not there: {lost:?}");
    }
}

/// The bullets of a section, each in one string.
fn bullets<'a>(text: &'a str, section: &str) -> Vec<String> {
    let (_, section) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let section: &'a str = section.split("\n## ").next().unwrap();
    let mut bullets: Vec<String> = Vec::new();
    for line in section.lines() {
        if line.starts_with("- ") {
            bullets.push(line.to_owned());
        } else if let (Some(bullet), true) = (bullets.last_mut(), line.starts_with("  ")) {
            bullet.push_str(line);
        }
    }
    bullets
}

#[test]
fn every_line_of_the_security_page_says_what_shows_it() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let bullets = bullets(&text, "Who can do what");
    assert!(bullets.len() > 40, "{}", bullets.len());
    let shown = |bullet: &&String| !named(bullet).is_empty() || bullet.contains("*(not tested");
    let bare: Vec<_> = bullets.iter().filter(|bullet| !shown(bullet)).collect();
    assert!(bare.is_empty(), "{bare:#?}");
}
