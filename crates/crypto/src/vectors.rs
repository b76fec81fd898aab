//! Known-answer vectors for independent implementations; see `docs/spec/vectors.md`.
