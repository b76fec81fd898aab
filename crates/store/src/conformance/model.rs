//! Random scripts of operations, and what can be seen of a store after each: two engines that are fed the same script
//! must show the same.

use sotto_proto::{
    AccountId, DeviceId, QueueNumber,
    frame::{FateState, Submitted},
    prekey::{PrekeyBundle, PrekeyCounts},
};

use super::{
    Engine, Person,
    fixture::{envelope, key, tag, upload},
};
use crate::{
    AccountRecord, AckOutcome, CreateOutcome, Ending, Invite, InviteHash, NewAccount, NewEnvelope,
    ReplaceOutcome, Store, StoreError, Submission,
};
use sotto_proto::frame::Refusal;

/// People in a script, and devices each may have.
const PEOPLE: u8 = 4;
const DEVICES: u8 = 3;
const INVITES: u8 = 2;

/// One step of a script. Numbers pick who and what, modulo what there is.
#[derive(Debug, Clone)]
pub enum Operation {
    Create { who: u8, look_alike: bool, invite: Option<u8>, late: bool },
    Remove { who: u8 },
    Reset { who: u8, back: bool },
    Invite { invite: u8, uses: u8 },
    Revoke { invite: u8 },
    Replace { who: u8, devices: u8, stale: bool },
    PutPrekeys { who: u8, device: u8, from: u8, count: u8 },
    Claim { who: u8, device: u8, one_time: bool },
    Append { submission: u8, to: Vec<(u8, u8, u16, bool)>, now: u16 },
    Ack { who: u8, device: u8, place: u8 },
    Expire { now: u16 },
    DiskFull(bool),
    Reopen,
}

/// What the script has seen so far.
#[derive(Debug, Default)]
pub struct Script {
    envelopes: u64,
}

/// What a step answered, in terms that do not depend on how an engine gives numbers.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Answer {
    Created(Result<CreateOutcome, StoreError>),
    Replaced(Result<ReplaceOutcome, StoreError>),
    Counts(Result<PrekeyCounts, StoreError>),
    Bundles(Vec<Option<PrekeyBundle>>),
    Appended(Submitted, Vec<bool>),
    Acked(AckOutcome),
    Was(bool),
    Done,
}

/// What can be seen from outside: names, and for each device prekeys, waiting bodies, how many places were acked and
/// lost, and each envelope's fate.
#[derive(Debug, PartialEq, Eq)]
pub struct View {
    names: Vec<(String, AccountId)>,
    accounts: Vec<Option<AccountRecord>>,
    ended: Vec<Option<Ending>>,
    invites: Vec<Invite>,
    devices: Vec<(DeviceId, Option<DeviceView>, PrekeyCounts)>,
    fates: Vec<FateState>,
    submissions: Vec<Option<Submitted>>,
    usage: (u64, u64, u64),
}

#[derive(Debug, PartialEq, Eq)]
struct DeviceView {
    waiting: Vec<(u64, Vec<u8>)>,
    acked: bool,
    /// How many of the waiting stand below `lost_through`, and whether anything was lost.
    lost: Option<usize>,
}

fn person(who: u8) -> Person {
    let who = who % PEOPLE;
    Person::new(["alice", "bob", "carol", "oil"][usize::from(who)], 1 + who)
}

/// Who they are after a reset.
fn renewed(who: u8) -> Person {
    let who = who % PEOPLE;
    Person::new(person(who).name.as_str(), 50 + who)
}

fn hash_of(invite: u8) -> InviteHash {
    InviteHash::of(&format!("token {}", invite % INVITES))
}

fn device_of(who: u8, device: u8) -> DeviceId {
    person(who).device(device % DEVICES)
}

/// Scripts as proptest makes them; the choices' weights keep mailboxes busy.
#[cfg(test)]
pub fn operations() -> impl proptest::strategy::Strategy<Value = Vec<Operation>> {
    use proptest::prelude::*;
    let to = prop::collection::vec((0..PEOPLE, 0..DEVICES, 0..9000_u16, prop::bool::weighted(0.1)), 0..6);
    let one = prop_oneof![
        3 => (0..PEOPLE, prop::bool::weighted(0.3), prop::option::weighted(0.3, 0..INVITES), any::<bool>())
            .prop_map(|(who, look_alike, invite, late)| Operation::Create { who, look_alike, invite, late }),
        1 => (0..PEOPLE).prop_map(|who| Operation::Remove { who }),
        1 => (0..PEOPLE, prop::bool::weighted(0.3)).prop_map(|(who, back)| Operation::Reset { who, back }),
        1 => (0..INVITES, 0..3_u8).prop_map(|(invite, uses)| Operation::Invite { invite, uses }),
        1 => (0..INVITES).prop_map(|invite| Operation::Revoke { invite }),
        2 => (0..PEOPLE, 0..8_u8, prop::bool::weighted(0.1))
            .prop_map(|(who, devices, stale)| Operation::Replace { who, devices, stale }),
        2 => (0..PEOPLE, 0..DEVICES, 0..60_u8, 0..60_u8)
            .prop_map(|(who, device, from, count)| Operation::PutPrekeys { who, device, from, count }),
        3 => (0..PEOPLE, 0..DEVICES, any::<bool>())
            .prop_map(|(who, device, one_time)| Operation::Claim { who, device, one_time }),
        8 => (0..40_u8, to, 0..1000_u16).prop_map(|(submission, to, now)| Operation::Append { submission, to, now }),
        4 => (0..PEOPLE, 0..DEVICES, 0..8_u8).prop_map(|(who, device, place)| Operation::Ack { who, device, place }),
        2 => (0..1000_u16).prop_map(|now| Operation::Expire { now }),
        1 => prop::bool::weighted(0.3).prop_map(Operation::DiskFull),
        1 => Just(Operation::Reopen),
    ];
    prop::collection::vec(one, 1..60)
}

/// Without proptest there are none; the suite's other users bring their own.
#[cfg(not(test))]
pub fn operations() {}

/// A unit of script time: a tenth of the least lifetime there is, so that a script of a thousand units sees all end.
const UNIT_MS: u64 = sotto_proto::limits::DAY_MS / 5;

/// When no account that ended early in a script is remembered.
const LATE_MS: u64 = 9_000 + sotto_proto::limits::DAY_MS + crate::ended::ENDED_MS;

fn new_envelope(script: &mut Script, to: (u8, u8, u16, bool)) -> NewEnvelope {
    let (who, device, length, refused) = to;
    script.envelopes += 1;
    NewEnvelope {
        refused: refused.then_some(Refusal::NotAccepted),
        ..envelope(device_of(who, device), script.envelopes, usize::from(length))
    }
}

/// Does one step.
pub fn apply<E: Engine>(engine: &mut E, script: &mut Script, operation: &Operation) -> Answer {
    match operation {
        Operation::Create { who, look_alike, invite, late } => {
            let mut person = person(*who);
            if *look_alike {
                // The same look with other ids, or the same ids with another name.
                person = Person::new(&format!("{}-", person.name), 100 + *who);
            }
            let mut account = NewAccount { invite: invite.map(hash_of), ..person.new_account() };
            if *late {
                account.now_ms = LATE_MS;
            }
            Answer::Created(engine.store().create_account(account).wait())
        }
        Operation::Remove { who } => {
            Answer::Was(engine.store().remove_account(person(*who).account, 7_000).wait().unwrap())
        }
        Operation::Reset { who, back } => {
            let (from, to) =
                if *back { (renewed(*who), person(*who)) } else { (person(*who), renewed(*who)) };
            let Some(record) = engine.store().account(from.account).wait().unwrap() else {
                return Answer::Done;
            };
            let list = to.list(1, &[to.device]);
            let now_ms = if *back { LATE_MS } else { 7_000 };
            Answer::Replaced(engine.store().reset_account(&record, list, now_ms).wait())
        }
        Operation::Invite { invite, uses } => {
            let invite = Invite {
                hash: hash_of(*invite),
                uses: u32::from(*uses),
                created_ms: 0,
                // An account is made at 1,000, or late.
                expires_ms: if *uses == 2 { 900 } else { 2_000 },
                note: String::new(),
            };
            match engine.store().create_invite(invite).wait() {
                Ok(made) => Answer::Was(made),
                Err(_) => Answer::Done,
            }
        }
        Operation::Revoke { invite } => {
            Answer::Was(engine.store().revoke_invite(hash_of(*invite)).wait().unwrap())
        }
        Operation::Replace { who, devices, stale } => {
            let person = person(*who);
            let Some(mut record) = engine.store().account(person.account).wait().unwrap() else {
                return Answer::Done;
            };
            let devices: Vec<_> = (0..DEVICES)
                .filter(|number| devices & (1 << number) != 0)
                .map(|number| person.device(number))
                .collect();
            let new = person.with_devices(&record, &devices);
            if *stale {
                record.revision += 7;
            }
            Answer::Replaced(engine.store().replace_account(&record, new).wait())
        }
        Operation::PutPrekeys { who, device, from, count } => {
            let (from, count) = (u32::from(*from), u32::from(*count));
            let upload = upload(from, from..from + count, from..from + count);
            Answer::Counts(engine.store().put_prekeys(device_of(*who, *device), upload).wait())
        }
        Operation::Claim { who, device, one_time } => {
            let devices = vec![device_of(*who, *device), device_of(*who + 1, *device)];
            Answer::Bundles(engine.store().claim_prekeys(devices, *one_time, 0).wait().unwrap())
        }
        Operation::Append { submission, to, now } => {
            let envelopes = to.iter().map(|to| new_envelope(script, *to)).collect();
            let now_ms = u64::from(*now) * UNIT_MS;
            let submission = Submission { key: key(u64::from(*submission)), envelopes, now_ms };
            let appended = engine.store().append(submission).wait().unwrap();
            Answer::Appended(appended.submitted, appended.numbers.iter().map(Option::is_some).collect())
        }
        Operation::Ack { who, device, place } => {
            let device = device_of(*who, *device);
            let waiting = engine.store().read(device, QueueNumber(0), usize::MAX).wait().unwrap();
            // A place that only a newer store than this one can have given, sometimes.
            let beyond = QueueNumber(if *place == 7 { u64::MAX } else { 0 });
            let through = waiting.get(usize::from(*place)).map_or(beyond, |delivery| delivery.number);
            Answer::Acked(engine.store().ack(device, through).wait().unwrap())
        }
        Operation::Expire { now } => {
            super::fixture::expire_all(engine.store(), u64::from(*now) * UNIT_MS);
            Answer::Done
        }
        Operation::DiskFull(full) => {
            engine.set_disk_full(*full);
            Answer::Done
        }
        Operation::Reopen => {
            engine.reopen();
            Answer::Done
        }
    }
}

impl Script {
    /// Everything that can be seen of the store.
    pub fn view<S: Store>(&self, store: &S) -> View {
        let names = store.names(None, usize::MAX).wait().unwrap();
        let mut devices = Vec::new();
        for who in 0..PEOPLE {
            let own = (0..DEVICES).map(|number| device_of(who, number));
            for device in own.chain([renewed(who).device]) {
                let counts = store.prekey_counts(device).wait().unwrap();
                devices.push((device, device_view(store, device), counts));
            }
        }
        let usage = store.usage().wait().unwrap();
        let accounts = (0..PEOPLE).flat_map(|who| [person(who).account, renewed(who).account]);
        View {
            ended: accounts.clone().map(|account| store.ended(account, 8_000).wait().unwrap()).collect(),
            accounts: accounts.map(|account| store.account(account).wait().unwrap()).collect(),
            invites: store.invites().wait().unwrap(),
            names: names.into_iter().map(|(name, account)| (name.to_string(), account)).collect(),
            devices,
            fates: store.fates((0..=self.envelopes).map(tag).collect()).wait().unwrap(),
            submissions: (0..40).map(|number| store.submission(key(number)).wait().unwrap()).collect(),
            usage: (usage.accounts, usage.envelopes, usage.envelope_bytes),
        }
    }
}

fn device_view<S: Store>(store: &S, device: DeviceId) -> Option<DeviceView> {
    let state = store.mailbox(device).wait().unwrap()?;
    let waiting = store.read(device, QueueNumber(0), usize::MAX).wait().unwrap();
    let below = waiting.iter().filter(|delivery| delivery.number <= state.lost_through).count();
    Some(DeviceView {
        acked: state.acked > QueueNumber(0),
        lost: (state.lost_through > QueueNumber(0)).then_some(below),
        waiting: waiting.into_iter().map(|delivery| (delivery.stored_ms, delivery.envelope)).collect(),
    })
}
