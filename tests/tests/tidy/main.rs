//! What holds for the repository as a whole: who depends on whom, which lints are on, what no file may say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod edges;
mod files;
mod shown;
mod workspace;
