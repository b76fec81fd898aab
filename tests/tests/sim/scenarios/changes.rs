//! Changes of the account's device list: what is signed, and what is said where nothing is.

use sotto_client::{
    api::{Device, DeviceStanding, ErrorKind, Reply},
    core::WithKey,
};
use sotto_crypto::{DeviceSecret, PendingCode};
use sotto_proto::{
    DeviceId,
    frame::{ErrorCode, ErrorReply, PendingDevice, PendingDevices, ServerFrame},
    limits::DAY_MS,
};

use crate::world::{PASSWORD, World};

/// The most tries that one change is worth.
const TRIES: usize = 10;

fn approve(code: PendingCode) -> WithKey {
    WithKey::Approve { code, key: PASSWORD }
}

fn remove(device: DeviceId) -> WithKey {
    WithKey::Remove { device, key: PASSWORD }
}

fn standing(devices: &[Device], device: DeviceId) -> Option<DeviceStanding> {
    devices.iter().find(|known| known.device == device.to_string()).map(|known| known.standing)
}

#[test]
fn who_removes_a_device_a_second_time_is_told_that_it_is_gone_and_not_that_it_never_was() {
    let mut world = World::new(170);
    let alice = world.person("alice");
    let stranger = world.waiting_device(world.devices[alice].account);
    world.with_key(alice, approve(stranger.code)).unwrap();
    for _ in 0..2 {
        let Ok(Reply::Devices(devices)) = world.with_key(alice, remove(stranger.id)) else { panic!() };
        assert_eq!(standing(&devices, stranger.id), Some(DeviceStanding::Removed));
    }
    assert_eq!(world.lists_sent.len(), 2, "nothing was signed for the second");
    let never = DeviceId(world.random());
    assert_eq!(world.with_key(alice, remove(never)).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn every_list_names_the_one_that_it_was_built_on() {
    let mut world = World::new(171);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    let mut before = world.accounts[account].list.clone();
    world.with_key(alice, approve(stranger.code)).unwrap();
    world.with_key(alice, remove(stranger.id)).unwrap();
    assert_eq!(world.lists_sent.len(), 2);
    for list in &world.lists_sent {
        assert_eq!(list.list().previous, before.hash());
        before = list.clone();
    }
}

#[test]
fn a_machine_that_claims_the_id_of_a_device_is_taken_for_it_only_with_both_of_its_keys() {
    let mut world = World::new(172);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    world.with_key(alice, approve(stranger.code)).unwrap();
    let known = world.lists_sent[0].list().device(&stranger.id).unwrap().certificate().clone();
    let other = DeviceSecret::generate(&mut world.rng);
    for (device_key, identity_key, same) in [
        (known.device_key, known.identity_key, true),
        (known.device_key, other.identity_key(), false),
        (other.device_key(), known.identity_key, false),
    ] {
        let device = stranger.id;
        world.tamper = Some(Box::new(move |_, frame| {
            Some(match frame {
                ServerFrame::PendingDevices(_) => {
                    let waiting = PendingDevice { device, device_key, identity_key, requested_ms: 0 };
                    ServerFrame::PendingDevices(PendingDevices { devices: vec![waiting] })
                }
                frame => frame,
            })
        }));
        let code = PendingCode::of(&known.account, &known.account_key, &device, &device_key, &identity_key);
        match world.with_key(alice, approve(code)) {
            Ok(Reply::Devices(_)) if same => {}
            Err(error) if !same => assert_eq!(error.kind, ErrorKind::IdentityChanged),
            other => panic!("{same}: {other:?}"),
        }
    }
    assert_eq!(world.lists_sent.len(), 1, "nothing more was signed");
}

#[test]
fn a_change_that_others_always_overtake_is_given_up_after_some_tries_and_the_user_told_why() {
    let mut world = World::new(173);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    let known = world.accounts[account].list.as_bytes().to_vec();
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Done => {
                let (code, message) = (ErrorCode::CONFLICT, "another one was faster".to_owned());
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
            }
            ServerFrame::Lists(mut lists) => {
                lists.lists = vec![Some(known.clone().into())];
                ServerFrame::Lists(lists)
            }
            frame => frame,
        })
    }));
    let error = world.with_key(alice, approve(stranger.code)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert_eq!(error.message, "other devices kept changing the account");
    assert_eq!(world.lists_sent.len(), TRIES);
}

#[test]
fn where_the_server_takes_a_list_for_one_of_the_future_the_user_is_sent_to_the_clock() {
    let mut world = World::new(174);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    world.pass(60_000);
    // While the connection stands, the server's clock is set back, and the device's is not.
    world.now_ms -= 2 * DAY_MS;
    world.devices[alice].skew_ms = 2 * i64::try_from(DAY_MS).unwrap();
    world.tick_server();
    let stranger = world.waiting_device(account);
    let error = world.with_key(alice, approve(stranger.code)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert!(error.hint.unwrap().contains("check the clock"));
    assert!(world.approved(account, &stranger).is_none());
    // What was signed may be on its way until the server's clock has come near it.
    world.disconnect(alice);
    world.connect(alice);
    world.pass(2 * DAY_MS);
    let stranger = world.waiting_device(account);
    assert!(world.with_key(alice, approve(stranger.code)).is_ok());
}
