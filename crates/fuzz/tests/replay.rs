//! Every input of the committed corpora, through the very bodies that are fuzzed: what was found once stays found.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::PathBuf};

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn replay(target: &str) {
    let (_, body) = sotto_fuzz::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    body(&[]);
    let mut inputs = 0;
    for entry in fs::read_dir(corpus().join(target)).unwrap() {
        let path = entry.unwrap().path();
        // Captured, and printed when the body panics.
        println!("{}", path.display());
        body(&fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus of {target} is empty");
}

macro_rules! replays {
    ($($target:ident)*) => {
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*
    };
}

replays! {
    client_records config content envelope export frames handshake lists ratchet server_records session terminal
}

#[test]
fn every_target_has_a_corpus_a_replay_and_a_program() {
    let targets: BTreeSet<String> = sotto_fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: PathBuf| -> BTreeSet<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names(corpus()), targets);
    assert_eq!(names(corpus().join("../fuzz_targets")), targets);
    assert_eq!(REPLAYED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), targets);
}
