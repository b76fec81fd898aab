//! Wired up below.
