//! Dependencies point one way, and the server has no code to decrypt with.

use std::collections::BTreeSet;

use crate::workspace::packages;

/// The whole picture of `ARCHITECTURE.md`: from, to.
const EDGES: [(&str, &str); 21] = [
    ("sotto-cli", "sotto-client"),
    ("sotto-cli", "sotto-proto"),
    ("sotto-cli", "sotto-server"),
    ("sotto-client", "sotto-crypto"),
    ("sotto-client", "sotto-migrations"),
    ("sotto-client", "sotto-proto"),
    ("sotto-crypto", "sotto-proto"),
    ("sotto-fuzz", "sotto-cli"),
    ("sotto-fuzz", "sotto-client"),
    ("sotto-fuzz", "sotto-crypto"),
    ("sotto-fuzz", "sotto-proto"),
    ("sotto-fuzz", "sotto-server"),
    ("sotto-fuzz", "sotto-store"),
    ("sotto-load", "sotto-client"),
    ("sotto-load", "sotto-crypto"),
    ("sotto-load", "sotto-proto"),
    ("sotto-load", "sotto-server"),
    ("sotto-server", "sotto-proto"),
    ("sotto-server", "sotto-store"),
    ("sotto-store", "sotto-migrations"),
    ("sotto-store", "sotto-proto"),
];

/// Runs the built programs and depends on none of the crates, nor they on it.
const TESTS: &str = "sotto-tests";

/// Libraries that do the work they are known for in one of our crates, not in a dependency of a dependency.
const AT_WORK: [&str; 9] =
    ["argon2", "bincode", "chacha20poly1305", "clap", "rand", "serde", "sled", "tokio", "x25519-dalek"];

#[test]
fn the_crates_depend_on_each_other_as_drawn() {
    let packages = packages();
    let found: BTreeSet<(&str, &str)> = packages
        .iter()
        .flat_map(|(name, package)| package.dependencies.iter().map(move |to| (name.as_str(), to.as_str())))
        .filter(|(_, to)| packages.contains_key(*to))
        .collect();
    assert_eq!(found, BTreeSet::from(EDGES));
    let drawn: BTreeSet<&str> = EDGES.iter().flat_map(|(from, to)| [*from, *to]).chain([TESTS]).collect();
    let there: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    assert_eq!(there, drawn, "a crate is missing from the picture, or drawn without being there");
}

/// Over all edges, those of tests included: what a test may link, a careless line may use.
#[test]
fn the_server_reaches_no_crate_that_can_decrypt() {
    let packages = packages();
    let mut reached = BTreeSet::new();
    let mut next = vec!["sotto-server"];
    while let Some(name) = next.pop() {
        if !reached.insert(name) {
            continue;
        }
        let package = &packages[name];
        let all = package.dependencies.iter().chain(&package.dev_dependencies).map(String::as_str);
        next.extend(all.filter(|to| packages.contains_key(*to)));
    }
    assert!(reached.contains("sotto-store"), "{reached:?}");
    for forbidden in ["sotto-crypto", "sotto-client", "sotto-cli"] {
        assert!(!reached.contains(forbidden), "sotto-server reaches {forbidden}");
    }
    for name in &reached {
        for cipher in ["chacha20poly1305", "x25519-dalek", "ml-kem"] {
            assert!(!packages[*name].dependencies.contains(cipher), "{name} of the server uses {cipher}");
        }
    }
}

#[test]
fn the_named_libraries_are_direct_dependencies_of_the_product() {
    let packages = packages();
    for library in AT_WORK {
        let users: Vec<&String> = packages
            .iter()
            .filter(|(name, package)| *name != TESTS && package.dependencies.contains(library))
            .map(|(name, _)| name)
            .collect();
        assert!(!users.is_empty(), "no crate depends on {library}");
    }
}
