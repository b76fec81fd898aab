//! Writes the seeds into the corpora: `cargo run -p sotto-fuzz --example seeds`.

#![allow(clippy::indexing_slicing)]

use std::{fs, io, path::Path};

use sha2::{Digest, Sha256};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, _) in sotto_fuzz::TARGETS {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        let seeds = sotto_fuzz::seeds::seeds(target);
        for seed in &seeds {
            // Named by content, so that writing them again changes nothing.
            let name = sotto_proto::ids::base32(&Sha256::digest(seed)[..20]);
            fs::write(folder.join(name), seed)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}
