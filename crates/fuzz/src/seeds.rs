//! Inputs to start from: real objects behind the decisions that lead to them. `cargo run -p sotto-fuzz --example seeds`
//! writes them into the corpora.

use rand::{SeedableRng, rngs::StdRng};
use sotto_crypto::{DeviceSecret, KemPrekeySecret, KemUse, OneTimePrekeySecret, SignedPrekeySecret};
use sotto_proto::{
    AccountId, AccountKey, DeviceId, ListHash, MessageId, codec,
    content::{Body, Content, ListRef, Place},
    envelope::BodyHash,
    frame::{ClientFrame, ServerFrame},
    prekey::PrekeyId,
};
use sotto_store::{AccountRecord, fuzzing::VALUES};

use crate::{client_records, envelope, export, handshake, lists, ratchet, world::devices};

/// The inputs of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "client_records" => client_record_seeds(),
        "config" => config_seeds(),
        "content" => content_seeds(),
        "envelope" => envelope_seeds(),
        "export" => export_seeds(),
        "frames" => frame_seeds(),
        "handshake" => handshake_seeds(),
        "lists" => list_seeds(),
        "ratchet" => ratchet_seeds(),
        "server_records" => server_record_seeds(),
        "session" => session_seeds(),
        "terminal" => terminal_seeds(),
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
        seeds.push(behind(&[0], sotto_crypto::fuzzing::split(message).0));
        seeds.push(behind(&[1, u8::from(one_time), 1], message));
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

fn content_seeds() -> Vec<Vec<u8>> {
    let ids = vec![MessageId([1; 16]), MessageId([2; 16])];
    let hashes = vec![BodyHash([3; 32])];
    let text = Body::Text("hé".to_owned());
    let resent = Body::Resent { failed: hashes[0], kind: text.kind(), body: text.encode() };
    let place = Place::Account(AccountId([4; 16]));
    let bodies = [
        text.clone(),
        Body::Delivered(ids.clone()),
        Body::Read(ids),
        Body::ResendRequest(hashes.clone()),
        resent.clone(),
        Body::Gone(hashes.clone()),
        Body::NoMessage(hashes),
        Body::SyncSent { place, kind: resent.kind(), body: resent.encode() },
        Body::SyncBlock { account: AccountId([4; 16]), blocked: true },
        Body::SyncDeviceName { device: DeviceId([5; 16]), name: "laptop".to_owned() },
    ];
    let list = ListRef { number: 1, hash: ListHash([6; 32]) };
    let whole = bodies.iter().map(|body| {
        let content = Content {
            message: MessageId([7; 16]),
            clock_ms: 8,
            place,
            sender_list: list,
            recipient_list: list,
            kind: body.kind(),
            body: body.encode(),
        };
        behind(&[255], &content.encode().unwrap())
    });
    let alone = bodies.iter().zip(0..).map(|(body, at)| behind(&[at], &body.encode()));
    whole.chain(alone).collect()
}

/// Decisions of the target `session`, by their number in it; the lowest bit is the side.
fn session_seeds() -> Vec<Vec<u8>> {
    let decision = |what: u8, side: u8| what << 1 | side;
    let (send, deliver, again, lose, damage, pass, start, burst) = (0, 3, 6, 7, 8, 9, 10, 11);
    let both = |what: u8| [decision(what, 0), decision(what, 1)];
    let [send_a, send_b] = both(send);
    let [deliver_a, deliver_b] = both(deliver);
    vec![
        vec![send_a],
        vec![send_a, deliver_b, 0, send_b, deliver_a, 0, send_a, deliver_b, 0],
        // Both start at once.
        vec![send_a, send_b, deliver_b, 0, deliver_a, 0, send_a, send_b, deliver_b, 0, deliver_a, 0],
        // Out of order, twice, lost, damaged.
        vec![send_a, send_a, send_a, deliver_b, 2, decision(again, 1), 0, decision(lose, 1), 1, deliver_b, 0],
        vec![send_a, decision(damage, 1), 0, 0, 1, 0, 0, 60, 1, 1, 0, 0, 60, 1, deliver_b, 0],
        // A KEM step by messages, and by time.
        vec![
            send_a,
            deliver_b,
            0,
            send_b,
            deliver_a,
            0,
            decision(burst, 0),
            59,
            send_b,
            deliver_a,
            0,
            send_a,
        ],
        vec![send_a, deliver_b, 0, decision(pass, 0), 48, send_b, deliver_a, 0, send_a, deliver_b, 0],
        // More sessions than are kept, old envelopes among them.
        [vec![send_a], [decision(start, 0), send_a].repeat(24), [deliver_b, 23].repeat(20)].concat(),
        // Nobody answers for ten days.
        vec![send_a, decision(pass, 0), 240, send_a, deliver_b, 1, deliver_b, 0],
    ]
}

fn client_record_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, value) in client_records::examples() {
        seeds.push(behind(&[0, 0, number, 0], &value));
        seeds.push(vec![0, 0, number, 1, 1, 0, 0, 0, 1]);
    }
    for column in 0..100 {
        seeds.push(vec![1, 0, column, 1, 2, 3]);
    }
    let mut rng = StdRng::seed_from_u64(10);
    let secrets = [
        DeviceSecret::generate(&mut rng).to_bytes(),
        SignedPrekeySecret::generate(&mut rng, PrekeyId(1), 0).to_bytes(),
        OneTimePrekeySecret::generate(&mut rng, PrekeyId(1)).to_bytes(),
        KemPrekeySecret::generate(&mut rng, KemUse::OneTime, PrekeyId(1), 0).to_bytes(),
    ];
    seeds.extend(secrets.iter().zip(0..).map(|(secret, kind)| behind(&[2, kind], secret)));
    // A wrap of 8 KiB and one pass, in a key file of either version; its checksum is put right by the target.
    let cost = [1, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1];
    let wrap = [&cost[..], &[7; 16], &[8; 48], &[9; 8]].concat();
    let length = u32::try_from(wrap.len()).unwrap().to_be_bytes();
    seeds.push([&[3, 1, 0, 0, 0, 1][..], &length, &wrap].concat());
    seeds.push([&[3, 2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1][..], &length, &wrap].concat());
    for message in [
        r#"{"Hello":{"version":2,"offline":false,"interactive":true}}"#,
        r#"{"Command":[7,{"Send":{"to":"Me","text":"hello"}}]}"#,
        r#"{"Command":[8,{"Send":{"to":{"User":"bob"},"text":"hello"}}]}"#,
        r#"{"Answer":[1,{"Ok":"Done"}]}"#,
        r#""Lagged""#,
    ] {
        seeds.push(behind(&[4], message.as_bytes()));
    }
    seeds
}

fn config_seeds() -> Vec<Vec<u8>> {
    let zeros = format!("{}art", "abandon ".repeat(23));
    let server = "listen = \"127.0.0.1:7777\"\ndata_dir = \"/var/lib/sottod\"\npublic_host = \"chat.example\"\nmax_clients = 5\n\
        registration = \"invite\"\ndirectory = \"closed\"\nlog.format = \"json\"\n[limits]\nretention_days = 30\n\
        mailbox_envelopes = 10000\nmailbox_mib = 256\n[hashing]\nmemory_mib = 128\nline = 9\n";
    let texts: &[(u8, &str)] = &[
        (0, server),
        (0, "listen = 0\n"),
        (0, "lisen = 1\n"),
        (0, "data_dir = \"a\\u0001\\\\b\"\n"),
        (1, "LISTEN=[::1]:0\nLIMITS__MAILBOX_MIB=1\nLOG__LEVEL=debug\nDATA_DIR=x\n"),
        (2, "profile = \"work\"\ncolor = \"never\"\nbell = false\nnotify = \"osc9\"\n"),
        (2, "profil = \"x\"\n"),
        (3, "sotto://chat.example:7000/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (3, "SOTTO://[::1]:7777/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        (3, "chat.example"),
        (3, "::ffff:1.2.3.4"),
        (4, "Alice.B-1_"),
        (4, "@bob"),
        (4, "#room"),
        (5, &zeros),
        (6, "tohk-2nsw-a4wh-og3v"),
        (6, "12345 12345 12345 12345 12345 12345 12345 12345 12345 12345 12345 12345"),
        (6, "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (6, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (7, "90m"),
        (7, "500ms"),
        (7, "2026-11-21T10:00:00+02:00"),
        (7, "2026-11-21"),
        (8, "send\n@bob\nhello"),
        (8, "--json\nrecv\n--wait\n5m\n--max\n1"),
        (8, "invite\nnew\n--uses\n3\n--expires\n12h"),
        (8, "config\nshow"),
    ];
    texts.iter().map(|(parser, text)| behind(&[*parser], text.as_bytes())).collect()
}

fn export_seeds() -> Vec<Vec<u8>> {
    let mut envelope = vec![1];
    envelope.extend(8_u64.to_be_bytes());
    envelope.extend([5; 16]);
    envelope.extend([0, 1, 2, 3]);
    let key = [&b"q"[..], &7_u64.to_be_bytes(), &1_u64.to_be_bytes()].concat();
    let rows = [("queue", key.clone(), envelope.clone()), ("meta", b"state".to_vec(), vec![1; 17])];
    let drawn = |role: u8, key: &[u8], value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[0, role, u8::try_from(key.len()).unwrap()], key, &length, value].concat()
    };
    let mut seeds = vec![behind(&[0], &export::written(&[])), behind(&[0], &export::written(&rows))];
    for mode in [1, 2] {
        seeds.push(vec![mode, 0]);
        seeds.push([&[mode, 1][..], &drawn(4, &key, &envelope), &[1, 0, 0, 20, 1]].concat());
        seeds.push([&[mode, 2][..], &drawn(4, b"n", &[1; 17]), &drawn(2, b"state", &[1; 17])].concat());
        seeds.push([&[mode, 1][..], &drawn(1, &7_u64.to_be_bytes(), b"file")].concat());
        seeds.push([&[mode, 1][..], &drawn(5, b"key", b"value")].concat());
    }
    seeds
}

/// A value of every kind that is short enough to be written by hand: version, then zeros or ones.
fn server_record_seeds() -> Vec<Vec<u8>> {
    let kinds = u8::try_from(VALUES.len()).unwrap();
    let mut seeds = Vec::new();
    for kind in 0..kinds {
        let (_, again) = VALUES[usize::from(kind)];
        for fill in [0, 1] {
            for length in 0..80 {
                let value = behind(&[1], &vec![fill; length]);
                if again(&value).is_ok() {
                    seeds.push(behind(&[kind], &value));
                    break;
                }
            }
        }
        seeds.push(vec![kind, 1]);
    }
    let bundle = &devices()[0].bundles[0];
    let prekeys = [
        ("signed prekey", codec::encode(&bundle.signed)),
        ("kem prekey", codec::encode(&bundle.kem)),
        ("one-time prekey", codec::encode(bundle.one_time.as_ref().unwrap())),
    ];
    for (name, bytes) in prekeys {
        let kind = VALUES.iter().position(|(known, _)| *known == name).unwrap();
        seeds.push(behind(&[u8::try_from(kind).unwrap(), 1], &bytes.unwrap()));
    }
    let account = VALUES.iter().position(|(name, _)| *name == "account").unwrap();
    let record = AccountRecord {
        revision: 1,
        username: "alice".parse().unwrap(),
        account: AccountId([1; 16]),
        account_key: AccountKey([2; 32]),
        password_hash: "hash".to_owned(),
        list: vec![3; 20],
        devices: vec![DeviceId([4; 16])],
        disabled: false,
        created_ms: 5,
        blocked: vec![AccountId([6; 16])],
        reset: None,
        seen: None,
    };
    let account = u8::try_from(account).unwrap();
    seeds.push(behind(&[account, 2, 0], &codec::encode(&record).unwrap()));
    seeds.push(behind(&[255, b'q'], &[1; 16]));
    seeds.push(behind(&[255, b'a'], &[1; 16]));
    seeds
}

fn terminal_seeds() -> Vec<Vec<u8>> {
    let hostile = "hi \u{1b}[31mred\u{9b}2J a\u{202e}b\u{200b}c e\u{301}\u{301}\u{301}\u{301}\u{301} 漢字 👩\u{200d}👩 👩🏽\r\nx\ty";
    let wide = format!("bob: {}[carol] 18:04 {}", "x".repeat(75), "漢 👩🏽 🇩🇪 ".repeat(9));
    let mut seeds = vec![behind(&[0], hostile.as_bytes())];
    for columns in [0, 20, 80, 255] {
        seeds.push(behind(&[1, columns], wide.as_bytes()));
        seeds.push(behind(&[1, columns], hostile.as_bytes()));
    }
    let typed = "/he\t hello\u{7f}\x1b[D\x1b[Dé漢\x1b[A\x17\x19\x1b[200~a\rb\x1b[2J\x1b[201~\r\x1b[A\x1b[1;5D\x0b\x01\x03\x0c";
    let typed = behind(&[2, u8::try_from(typed.len()).unwrap()], typed.as_bytes());
    let printed = behind(&[1, 20], b"12345678901234567890");
    for cursor in [0, 1] {
        for (columns, rows) in [(80, 24), (20, 8), (2, 1), (0, 0)] {
            let head = [&[2, cursor, columns, rows][..], b"carol   "].concat();
            seeds.push([&head[..], &typed, &printed, &[0, 30, 5], &typed, &printed].concat());
        }
    }
    seeds
}
