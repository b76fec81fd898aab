//! How the account and its connection stand, and what its devices are told of that.

use sotto_client::api::{AccountCommand, Command, Connection, Event, Reply};
use sotto_proto::frame::ResetState;

use crate::world::World;

const ASKED: &str = "somebody who knows the password of this account has asked for a new identity";

fn refuse_reset(world: &mut World, index: usize) {
    let refuse = Command::Account(AccountCommand::RefuseReset);
    assert_eq!(world.command(index, refuse), Ok(Reply::Done));
}

/// What a device has said of resets since the last look: which wait, and that none does.
fn resets(world: &mut World, index: usize) -> Vec<ResetState> {
    let events = std::mem::take(&mut world.devices[index].events);
    let resets = events.into_iter().filter_map(|event| match event {
        Event::Reset(state) => Some(state),
        _ => None,
    });
    resets.collect()
}

#[test]
fn a_device_is_online_once_it_is_let_in_and_says_so_once() {
    let mut world = World::new(160);
    let alice = world.person_without_keys("alice");
    let connection = |world: &mut World| match world.command(alice, Command::Connection) {
        Ok(Reply::Connection(connection)) => connection,
        other => panic!("{other:?}"),
    };
    let said = |world: &World| {
        let online = |event: &&Event| matches!(event, Event::Connection(Connection::Online));
        world.devices[alice].events.iter().filter(online).count()
    };
    for times in 1..3 {
        assert_eq!((connection(&mut world), said(&world)), (Connection::Connecting, times - 1));
        world.connect(alice);
        world.settle();
        assert_eq!((connection(&mut world), said(&world)), (Connection::Online, times));
        world.disconnect(alice);
        world.settle();
    }
}

#[test]
fn a_new_identity_that_was_asked_for_is_refused_on_one_device_and_all_know_that_none_waits() {
    let mut world = World::new(161);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let laptop = world.second_device(account, None);
    world.connect(alice);
    world.pass(2_000);
    // There is none to refuse, and so there is no news.
    refuse_reset(&mut world, laptop);
    for index in [alice, laptop] {
        assert_eq!(resets(&mut world, index), []);
    }
    world.ask_for_new_identity(account);
    for index in [alice, laptop] {
        assert!(world.warnings(index).contains(ASKED), "{index}");
        assert!(matches!(resets(&mut world, index)[..], [ResetState::Pending(_)]), "{index}");
        assert_eq!(world.screen(index).iter().filter(|line| line.contains(ASKED)).count(), 1, "{index}");
    }
    refuse_reset(&mut world, laptop);
    for index in [alice, laptop] {
        assert_eq!(resets(&mut world, index), [ResetState::None], "{index}");
    }
    refuse_reset(&mut world, alice);
    for index in [alice, laptop] {
        world.disconnect(index);
        world.connect(index);
        world.settle();
        assert_eq!(resets(&mut world, index), [], "{index}");
    }
}
