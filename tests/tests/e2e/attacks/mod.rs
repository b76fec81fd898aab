//! Hostile clients of the real daemon, few of each kind: the limit holds, and honest people write to each other
//! meanwhile. `sotto-load attack` does the same in numbers.

mod raw;

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::Instant;

use rand::RngExt as _;
use sotto_proto::{
    Signature,
    frame::{
        AuthKey, ClaimBundles, ClientFrame, ErrorCode, InChat, Invite, LookupLists, PasswordLogin, Register,
        ServerFrame,
    },
    limits::{MAX_DEVICES, MAX_FRAME, MAX_LISTS, MAX_PIPELINED},
};
use sotto_tests::sotto::Client;
use sotto_tests::sottod::Server;

use crate::town::{Town, texts};
use raw::{PATIENCE, Person, Raw, address, tcp};

/// Two who write to each other while somebody attacks.
struct Friends {
    alice: Client,
    bob: Client,
    written: Vec<String>,
}

impl Friends {
    fn new(town: &Town) -> Self {
        let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
        let mut friends = Self { alice, bob, written: Vec::new() };
        friends.talk("before");
        friends
    }

    /// A message goes from one to the other, by devices that sign in for it.
    fn talk(&mut self, text: &str) {
        self.alice.ok(&["send", "@bob", text]).unwrap();
        self.written.push(text.to_owned());
        let read = self.bob.ok(&["recv"]).unwrap();
        assert_eq!(texts(&read.messages()), [text], "not read once");
    }

    /// Nothing was lost or came twice.
    fn part(mut self) {
        self.talk("after");
        assert_eq!(texts(&self.bob.history("@alice").unwrap()), self.written);
    }
}

/// What the server itself holds, KiB: RssAnon.
fn memory_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Length, kind and request id before a payload.
fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len() + 6).unwrap().to_be_bytes().to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let town = Town::with(|options| options.environment("SOTTOD_LIMITS__CLIENTS_PER_ADDRESS", "4")).unwrap();
    let mut friends = Friends::new(&town);
    let greedy = address(1);
    let mut there: Vec<Raw> = (0..4).map(|_| Raw::open(&town.server, greedy)).collect();
    assert!(Raw::try_open(&town.server, greedy).is_none(), "a fifth");
    let mut other = Raw::open(&town.server, address(2));
    friends.talk("meanwhile");
    for raw in there.iter_mut().chain([&mut other]) {
        assert_eq!(raw.ask(&ClientFrame::Ping), ServerFrame::Pong);
    }
    drop(there.pop());
    // The server hears of an end when it hears of it.
    let left = Instant::now();
    while Raw::try_open(&town.server, greedy).is_none() {
        assert!(left.elapsed() < PATIENCE, "one has left, and nobody else is let in");
    }
    let told = "as many connections of its address as one may have";
    assert_eq!(town.server.log().matches(told).count(), 1, "the operator is told once");
    friends.part();
}

/// Of one address, as the server has it.
const HALF_OPEN: usize = 512;

#[test]
fn handshakes_that_never_end_leave_room_for_others() {
    let town = Town::with(|options| options.environment("SOTTOD_LOG__LEVEL", "debug")).unwrap();
    let mut friends = Friends::new(&town);
    let greedy = address(1);
    drop(Raw::open(&town.server, greedy));
    // The first byte of a TLS record.
    let begun: Vec<_> = (0..HALF_OPEN + 20)
        .map(|_| {
            let mut tcp = tcp(&town.server, greedy);
            // Who is turned away may be so before that.
            let _closed = tcp.write_all(&[22]);
            tcp
        })
        .collect();
    friends.talk("meanwhile");
    // All are closed in the end, but these at once: the log says so.
    for mut tcp in begun.into_iter().skip(HALF_OPEN + 10) {
        assert!(!matches!(tcp.read(&mut [0]), Ok(1..)));
    }
    let turned_away = town.server.log().matches("too many connections of its address: HalfOpen").count();
    assert!((1..=20).contains(&turned_away), "{turned_away}");
    friends.part();
}

#[test]
fn wrong_passwords_make_a_name_wait_and_not_its_devices() {
    let town = Town::new().unwrap();
    let mut friends = Friends::new(&town);
    let guess = |name: &str| {
        let (username, auth_key) = (name.to_owned(), AuthKey(rand::rng().random()));
        ClientFrame::PasswordLogin(PasswordLogin { username, auth_key })
    };
    let mut one = Raw::open(&town.server, address(1));
    let known = one.ask(&guess("alice"));
    assert_eq!(known, one.ask(&guess("zebra")), "a name that exists and one that does not");
    assert_eq!(one.refused(&guess("alice")), ErrorCode::BAD_CREDENTIALS);
    let mut other = Raw::open(&town.server, address(2));
    assert_eq!(other.refused(&guess("alice")), ErrorCode::BAD_CREDENTIALS);
    let codes: Vec<ErrorCode> =
        (3..8).map(|n| Raw::open(&town.server, address(n)).refused(&guess("alice"))).collect();
    assert!(codes.contains(&ErrorCode::RATE_LIMITED), "from wherever: {codes:?}");
    friends.talk("alice signs in by key");
    friends.part();
}

#[test]
fn registrations_of_one_address_are_counted_whether_they_hold_or_not() {
    let town =
        Town::with(|options| options.environment("SOTTOD_LIMITS__REGISTRATIONS_PER_ADDRESS", "6")).unwrap();
    let mut friends = Friends::new(&town);
    let mut raw = Raw::open(&town.server, address(1));
    let register = raw.registration(&Person::new("mallory"));
    assert_eq!(raw.ask(&register), ServerFrame::Done);
    let question = ClientFrame::Register(Register::question("nobody".to_owned()));
    let ClientFrame::Register(honest) = raw.registration(&Person::with_list("many", MAX_DEVICES, 0)) else {
        panic!()
    };
    let forged = ClientFrame::Register(Register { signature: Signature([0; 64]), ..honest });
    // Each refill takes two seconds: of many at once it is the same few that pass.
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.extend([raw.refused(&question), raw.refused(&forged)]);
    }
    assert!(codes.starts_with(&[ErrorCode::BAD_KEYS; 5]), "{codes:?}");
    assert!(codes.contains(&ErrorCode::RATE_LIMITED), "{codes:?}");
    friends.talk("meanwhile");
    let mut other = Raw::open(&town.server, address(2));
    let register = other.registration(&Person::new("trudy"));
    assert_eq!(other.ask(&register), ServerFrame::Done, "others have theirs");
    friends.part();
}

#[test]
fn logins_with_signatures_of_nobody_end_their_connection() {
    let town = Town::new().unwrap();
    let mut friends = Friends::new(&town);
    let owner = Person::new("mallory");
    drop(Raw::online(&town.server, address(1), &owner));
    let mut right = Raw::open(&town.server, address(1));
    let login = right.by_key(&owner, false);
    assert!(matches!(right.ask(&login), ServerFrame::AccountIn(_)));
    let mut liar = Raw::open(&town.server, address(1));
    let forged = liar.by_key(&owner, true);
    for _ in 0..MAX_PIPELINED {
        if liar.try_write(&forged.encode(9).unwrap()).is_err() {
            break;
        }
    }
    let mut answers = 0;
    while let Some((_, answer)) = liar.next() {
        assert!(matches!(answer, ServerFrame::Error(reply) if reply.code == ErrorCode::BAD_CREDENTIALS));
        answers += 1;
    }
    assert_eq!(answers, 8, "then it is closed");
    friends.talk("meanwhile");
    assert_eq!(right.ask(&ClientFrame::Ping), ServerFrame::Pong);
    friends.part();
}

#[test]
fn one_who_claims_prekeys_is_slowed_down_and_others_get_theirs() {
    let town = Town::with(|options| options.environment("SOTTOD_LIMITS__CLAIMS_PER_ACCOUNT", "8")).unwrap();
    let mut friends = Friends::new(&town);
    let (thief, friend) = (Person::new("mallory"), Person::new("trudy"));
    let mut at_thief = Raw::online(&town.server, address(1), &thief);
    let lookup = LookupLists { names: vec!["alice".to_owned()], accounts: Vec::new() };
    let ServerFrame::Lists(lists) = at_thief.ask(&ClientFrame::LookupLists(lookup)) else { panic!() };
    let list = sotto_proto::SignedDeviceList::parse(lists.lists[0].as_ref().unwrap()).unwrap();
    let devices = list.list().devices.iter().map(|device| device.certificate().device).collect();
    let account = list.list().account;
    let claim = ClientFrame::ClaimBundles(ClaimBundles { account, devices, one_time: true });
    let mut granted = 0;
    let refused = loop {
        match at_thief.ask(&claim) {
            ServerFrame::Bundles(bundles) => {
                assert_eq!(bundles.bundles.len(), 1);
                granted += 1;
                // One more comes each second.
                assert!(granted < 200, "never refused");
            }
            ServerFrame::Error(reply) => break reply.code,
            other => panic!("{other:?}"),
        }
    };
    assert!(granted >= 8 && refused == ErrorCode::RATE_LIMITED, "{granted} and then {refused:?}");
    let mut at_friend = Raw::online(&town.server, address(2), &friend);
    assert!(matches!(at_friend.ask(&claim), ServerFrame::Bundles(bundles) if bundles.bundles.len() == 1));
    // A first message needs them too.
    let carol = town.person("carol").unwrap();
    carol.ok(&["send", "@bob", "hello"]).unwrap();
    assert_eq!(texts(&friends.bob.ok(&["recv"]).unwrap().messages()), ["hello"]);
    friends.talk("meanwhile");
    friends.part();
}

#[test]
fn who_invites_without_end_is_slowed_down() {
    let town = Town::new().unwrap();
    let mut friends = Friends::new(&town);
    let (pest, victim) = (Person::new("mallory"), Person::new("victim"));
    let mut at_victim = Raw::online(&town.server, address(2), &victim);
    let mut at_pest = Raw::online(&town.server, address(1), &pest);
    let invite = ClientFrame::Invite(Invite { users: vec!["victim".to_owned()] });
    let mut granted = 0;
    let refused = loop {
        match at_pest.ask(&invite) {
            ServerFrame::Inviting(inviting) => {
                let cancel = ClientFrame::Cancel(InChat { chat: inviting.chat });
                assert_eq!(at_pest.ask(&cancel), ServerFrame::Done);
                granted += 1;
                assert!(granted < 200, "never refused");
            }
            ServerFrame::Error(reply) => break reply.code,
            other => panic!("{other:?}"),
        }
    };
    assert!(granted >= 10 && refused == ErrorCode::RATE_LIMITED, "{granted} and then {refused:?}");
    // Each was told, and each one's end.
    let ping = at_victim.send(&ClientFrame::Ping);
    let (mut invited, mut ended) = (0, 0);
    loop {
        match at_victim.next().unwrap() {
            (request, ServerFrame::Pong) if request == ping => break,
            (_, ServerFrame::Invited(_)) => invited += 1,
            (_, ServerFrame::InviteEnded(_)) => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((invited, ended), (granted, granted));
    friends.talk("meanwhile");
    friends.part();
}

/// Connections of an attack on the server's memory; without its limit each takes a mebibyte or more.
const HOLDERS: usize = 60;
/// What all of them may take with it, and some for everything else.
const HELD_KIB: u64 = 40 * 1024;

#[test]
fn a_long_frame_is_not_held_for_the_byte_behind_it() {
    let town = Town::new().unwrap();
    let mut friends = Friends::new(&town);
    let owner = Person::new("mallory");
    drop(Raw::online(&town.server, address(1), &owner));
    let before = memory_kib(&town.server);
    let mut bytes = frame(0x0fff, &vec![0; MAX_FRAME - 6]);
    bytes.push(0);
    let mut holders: Vec<Raw> = (0..HOLDERS)
        .map(|_| {
            let mut raw = Raw::open(&town.server, address(1));
            let login = raw.by_key(&owner, false);
            assert!(matches!(raw.ask(&login), ServerFrame::AccountIn(_)));
            raw.write(&bytes);
            // The long one has been read when it is answered.
            assert!(matches!(raw.next(), Some((7, ServerFrame::Error(reply))) if reply.code == ErrorCode::UNSUPPORTED));
            raw
        })
        .collect();
    let grown = memory_kib(&town.server).saturating_sub(before);
    assert!(grown < HELD_KIB, "{grown} KiB for {HOLDERS} connections");
    friends.talk("meanwhile");
    // The byte is the first of a frame that can still come.
    for raw in &mut holders {
        let ping = ClientFrame::Ping.encode(8).unwrap();
        raw.write(&ping[1..]);
        assert_eq!(raw.next(), Some((8, ServerFrame::Pong)));
    }
    friends.part();
}

/// Revocations that make a device list as long as a registration can bring.
const REVOCATIONS: usize = 480;

#[test]
fn who_reads_no_answer_is_not_answered_on() {
    let town = Town::new().unwrap();
    let mut friends = Friends::new(&town);
    let large = Person::with_list("large", MAX_DEVICES, REVOCATIONS);
    drop(Raw::online(&town.server, address(1), &large));
    let names = vec!["large".to_owned(); MAX_LISTS];
    let question = ClientFrame::LookupLists(LookupLists { names, accounts: Vec::new() });
    let people: Vec<Person> = (0..HOLDERS).map(|n| Person::new(&format!("deaf{n}"))).collect();
    let mut deaf: Vec<Raw> =
        people.iter().map(|person| Raw::online(&town.server, address(1), person)).collect();
    let answer = deaf[0].ask(&question);
    assert!(matches!(&answer, ServerFrame::Lists(lists) if lists.lists.iter().all(Option::is_some)));
    let before = memory_kib(&town.server);
    for raw in &mut deaf {
        for _ in 0..MAX_PIPELINED - 1 {
            raw.send(&question);
        }
    }
    friends.talk("meanwhile");
    let grown = memory_kib(&town.server).saturating_sub(before);
    assert!(grown < HELD_KIB, "{grown} KiB for {HOLDERS} connections");
    // Who reads after all gets each answer once.
    let raw = &mut deaf[1];
    for request in 1..MAX_PIPELINED {
        let (answered, frame) = raw.next().unwrap();
        assert_eq!(
            usize::try_from(answered).unwrap(),
            request + 3,
            "Hello, Register and DeviceLogin came before"
        );
        assert_eq!(frame, answer);
    }
    friends.part();
}

#[test]
fn more_requests_than_are_taken_are_each_answered_once() {
    let town = Town::new().unwrap();
    let mut friends = Friends::new(&town);
    let mut raw = Raw::online(&town.server, address(1), &Person::new("mallory"));
    let first = raw.send(&ClientFrame::Ping);
    assert_eq!(raw.next(), Some((first, ServerFrame::Pong)));
    let all: u32 = u32::try_from(10 * MAX_PIPELINED).unwrap();
    let bytes: Vec<u8> =
        (1..=all).flat_map(|number| ClientFrame::Ping.encode(1000 + number).unwrap()).collect();
    raw.write(&bytes);
    friends.talk("meanwhile");
    for number in 1..=all {
        assert_eq!(raw.next(), Some((1000 + number, ServerFrame::Pong)));
    }
    friends.part();
}

#[test]
fn garbage_after_a_login_ends_only_its_own_connection() {
    let town = Town::new().unwrap();
    let mut friends = Friends::new(&town);
    let person = Person::new("mallory");
    let mut first = Raw::online(&town.server, address(1), &person);
    first.write(&frame(2, b"a Ping has no payload"));
    assert!(
        matches!(first.next(), Some((7, ServerFrame::Error(reply))) if reply.code == ErrorCode::MALFORMED)
    );
    assert_eq!(first.next(), None);
    let (seed, mut rng) = {
        let seed: u64 = rand::rng().random();
        (seed, <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed))
    };
    println!("seed {seed}");
    for _ in 0..20 {
        let mut raw = Raw::open(&town.server, address(1));
        raw.sign_in(&person);
        for _ in 0..10 {
            let kind = if rng.random() { rng.random_range(0x0002..0x0060) } else { rng.random() };
            let payload: Vec<u8> = (0..rng.random_range(0..500)).map(|_| rng.random()).collect();
            if raw.try_write(&frame(kind, &payload)).is_err() {
                break;
            }
        }
        // Bye ends what was not closed before.
        let _closed = raw.try_write(&ClientFrame::Bye.encode(9).unwrap());
        while raw.next().is_some() {}
    }
    friends.talk("meanwhile");
    assert!(!town.server.log().to_lowercase().contains("panic"), "{}", town.server.log());
    friends.part();
}
