//! Prints known-answer vectors as JSON: `cargo run -p sotto-crypto --example vectors -- --seed N`. The format is
//! described in `docs/spec/vectors.md`.

use std::process::ExitCode;

use serde_json::{Map, Value as Json};
use sotto_crypto::vectors::{Value, generate};

fn json(value: Value) -> Json {
    match value {
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::List(items) => items.into_iter().map(json).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, json(value))).collect::<Map<_, _>>().into()
        }
    }
}

/// The number behind `--seed`, which is the only argument.
fn seed(arguments: &[String]) -> Option<u64> {
    match arguments {
        [flag, number] if flag == "--seed" => number.parse().ok(),
        _ => None,
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(seed) = seed(&arguments) else {
        eprintln!("usage: vectors --seed N");
        return ExitCode::from(2);
    };
    match generate(seed) {
        Ok(vectors) => {
            println!("{:#}", json(vectors));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("vectors: {error}");
            ExitCode::FAILURE
        }
    }
}
