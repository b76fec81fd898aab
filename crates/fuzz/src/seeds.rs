//! Inputs to start from: real objects behind the decisions that lead to them. `cargo run -p sotto-fuzz --example seeds`
//! writes them into the corpora.

use sotto_proto::{
    codec,
    frame::{ClientFrame, ServerFrame},
};

use crate::{envelope, handshake, lists, ratchet, world::devices};

/// The inputs of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "envelope" => envelope_seeds(),
        "frames" => frame_seeds(),
        "handshake" => handshake_seeds(),
        "lists" => list_seeds(),
        "ratchet" => ratchet_seeds(),
        _ => Vec::new(),
    }
}

fn behind(decisions: &[u8], object: &[u8]) -> Vec<u8> {
    [decisions, object].concat()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::try_from(digit(&pair[0]) << 4 | digit(&pair[1])).unwrap())
        .collect()
}

/// Every frame of the byte snapshots, alone and in a stream.
fn frame_seeds() -> Vec<Vec<u8>> {
    let kinds = [ClientFrame::KINDS, ServerFrame::KINDS].concat();
    let frames: Vec<Vec<u8>> = include_str!("../../proto/tests/snapshots/frames.txt")
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .map(unhex)
        .collect();
    let alone = frames.iter().map(|frame| {
        let kind = u16::from_be_bytes([frame[4], frame[5]]);
        let at = kinds.iter().position(|known| *known == kind).unwrap();
        behind(&[0, u8::try_from(at).unwrap(), 7], &frame[10..])
    });
    let streams =
        frames.chunks(12).zip(0..).map(|(frames, number)| behind(&[1, number, 63], &frames.concat()));
    alone.chain(streams).collect()
}

fn envelope_seeds() -> Vec<Vec<u8>> {
    let mut short_body = vec![0; 2_048];
    short_body[0] = 1;
    vec![
        behind(&[0], envelope::real()),
        vec![1, 0],
        vec![1, 1, 0, 0, 40, 1],
        // An empty body in its one padded form.
        behind(&[2, 0], &short_body),
        behind(&[2, 1, 0], &short_body),
        behind(&[2, 2, 0], &short_body),
        behind(&[2, 1, 1, 0, 1, 0, 1], &short_body),
    ]
}

fn handshake_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![1, 1, 0, 0], vec![1, 0, 0, 0], vec![2, 1, 1, 0], vec![2, 0, 1, 0]];
    for one_time in [true, false] {
        let message = handshake::first_message(one_time);
        seeds.push(behind(&[0], sotto_crypto::fuzzing::split(&message).0));
        seeds.push(behind(&[1, u8::from(one_time), 1], &message));
    }
    // Another generation, another key's number, another use.
    for at in [12_u8, 44, 48, 49, 53, 54] {
        seeds.push(vec![1, 1, 0, 1, 0, 0, at, 1]);
        seeds.push(vec![2, 1, 1, 1, 0, 0, at, 1]);
    }
    let bundle = codec::encode(&devices()[1].bundles[0]).unwrap();
    let far = u8::try_from(bundle.len() >> 8).unwrap();
    seeds.push(vec![2, 1, 1, 1, 0, far, u8::try_from(bundle.len() & 255).unwrap() - 1, 255]);
    seeds
}

fn list_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = lists::examples().into_iter().map(|object| behind(&[0], &object)).collect();
    // Two devices and a revocation; a device twice; nothing; a foreign name.
    let two = [0, 1, 2, 2, 0, 0, 2, 0, 1, 1, 9, 50];
    seeds.push(behind(&[1], &two));
    seeds.push(behind(&[1, 0, 1, 2, 2, 0, 0, 2, 0, 0], &[0]));
    seeds.push(vec![1, 0, 1, 0, 0]);
    seeds.push(behind(&[1, 2], &two[1..]));
    for number in [0, 1, 2] {
        let mut next = two;
        next[1] = number;
        seeds.push([&[2][..], &two, &next].concat());
    }
    seeds.push(vec![3, 0, 0]);
    seeds.push(vec![3, 1, 0, 0, 9, 1, 1, 0, 0, 9, 1]);
    seeds.push(vec![4, 0, 0, 0]);
    seeds.push(vec![4, 0, 0, 3, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0]);
    seeds.push(vec![4, 0, 0, 3, 0, 1, 1, 0, 2, 0, 2, 2, 9, 0, 3, 0, 0]);
    seeds.push(vec![4, 0, 0, 252]);
    seeds.push(vec![4, 0, 0, 253]);
    seeds
}

fn ratchet_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, moment) in ratchet::moments().iter().enumerate() {
        let at = u8::try_from(at).unwrap();
        for (which, (message, _)) in moment.on_the_way.iter().enumerate() {
            let which = u8::try_from(which).unwrap();
            seeds.push(vec![1, 0, at, 0, which, 0, 0]);
            // Another number, another previous length, another key.
            for place in [4, 39, 43, 44] {
                seeds.push(vec![1, 0, at, 0, which, 0, 1, 0, 0, place, 1, 0]);
            }
            let header = if at == 0 { sotto_crypto::fuzzing::split(message).1 } else { message };
            seeds.push(behind(&[0], sotto_crypto::fuzzing::split(header).0));
        }
        seeds.push(vec![2, 0, at, 0, 0]);
        seeds.push(behind(&[2, 0, at, 1], &moment.record));
        for place in [1, 9, 13, 17, 60, 200] {
            seeds.push(vec![2, 0, at, 0, 1, 0, 0, place, 1]);
        }
    }
    seeds
}
