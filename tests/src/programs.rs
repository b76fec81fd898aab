//! Where the built programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The path of a program that the same cargo profile built, as `sottod` or `sotto`.
///
/// Cargo builds the programs of other packages for `cargo test --workspace`, because those hold integration tests of
/// their own; `cargo test -p sotto-tests` alone uses what is there, which can be old or missing.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    built(Path::new(name), "cargo build -p sotto-cli -p sotto-server")
}

/// The path of a program in `examples/` of this package: `cargo test` builds them too.
pub(crate) fn example(name: &str) -> anyhow::Result<PathBuf> {
    built(&Path::new("examples").join(name), "cargo build -p sotto-tests --examples")
}

fn built(name: &Path, how: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("where is this program?")?;
    // target/debug/deps/crash-0123456789abcdef
    let profile =
        test.parent().and_then(|deps| deps.parent()).context("a test program outside of target/")?;
    let path = profile.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    if !path.is_file() {
        bail!("{} is not built; run `{how}` first", path.display());
    }
    Ok(path)
}
