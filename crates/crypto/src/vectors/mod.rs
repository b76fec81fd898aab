//! Known-answer vectors for independent implementations, made by the code that real messages go through.
//!
//! The values hold the private keys and every intermediate result of two made-up devices. Nothing of it can be asked
//! of a real secret: the only input is the seed of a generator that is used nowhere else. The module is public and
//! hidden because an example can see nothing else of its crate. The format is described in `docs/spec/vectors.md`.

mod handshake;
mod identities;
mod messages;
mod random;
mod value;

pub use value::Value;

use random::SeededRng;
use value::object;

use crate::padding::padded_length;

/// What may go wrong while vectors are made: a defect of this crate.
pub type VectorError = Box<dyn std::error::Error + Send + Sync>;

/// A point in time at which everything happens, Unix milliseconds.
const NOW_MS: u64 = 1_750_000_000_000;

/// All vectors of a seed.
pub fn generate(seed: u64) -> Result<Value, VectorError> {
    let mut rng = SeededRng::new(seed);
    let alice = identities::Identity::generate(&mut rng, "alice")?;
    let bob = identities::Identity::generate(&mut rng, "bob.b")?;
    let server = sotto_proto::ServerId(rng.array());
    let mut sessions = Vec::new();
    for one_time in [true, false] {
        sessions.push(handshake::session(&mut rng, &alice, &bob, one_time)?);
    }
    Ok(object([
        ("format", Value::text("sotto vectors 1")),
        ("seed", Value::Number(seed)),
        ("now_ms", Value::Number(NOW_MS)),
        ("alice", alice.value(&mut rng, &server)?),
        ("bob", bob.value(&mut rng, &server)?),
        ("safety_number", identities::safety_number(&alice, &bob)),
        ("auth_key", identities::auth_key(&server)?),
        ("vault", identities::vault(&mut rng)?),
        ("padding", padding()),
        ("sessions", Value::List(sessions)),
    ]))
}

fn padding() -> Value {
    let lengths = [0, 1, 2_047, 2_048, 2_049, 2_176, 2_177, 4_096, 4_097, 10_000, 32_769, 40_000];
    let item = |length| {
        let padded = u64::try_from(padded_length(length)).unwrap_or(u64::MAX);
        object([
            ("length", Value::Number(u64::try_from(length).unwrap_or(u64::MAX))),
            ("padded", Value::Number(padded)),
        ])
    };
    Value::List(lengths.into_iter().map(item).collect())
}
