//! The workspace as cargo sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One package of the workspace.
pub(crate) struct Package {
    pub(crate) manifest: PathBuf,
    /// Direct dependencies of the code itself and of its build script.
    pub(crate) dependencies: BTreeSet<String>,
    /// Direct dependencies of its tests.
    pub(crate) dev_dependencies: BTreeSet<String>,
}

/// The top folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All packages by name. Needs no network: only the manifests of the workspace are read.
pub(crate) fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(value: &Value) -> (String, Package) {
    let (mut dependencies, mut dev_dependencies) = (BTreeSet::new(), BTreeSet::new());
    for dependency in value["dependencies"].as_array().unwrap() {
        let name = dependency["name"].as_str().unwrap().to_owned();
        match dependency["kind"].as_str() {
            Some("dev") => dev_dependencies.insert(name),
            _ => dependencies.insert(name),
        };
    }
    let manifest = PathBuf::from(value["manifest_path"].as_str().unwrap());
    (value["name"].as_str().unwrap().to_owned(), Package { manifest, dependencies, dev_dependencies })
}
