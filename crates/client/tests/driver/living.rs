//! Living with an account: a device that waits to be approved, another password, a new identity, and people at faces.

use std::sync::Arc;

use sotto_client::{
    api::{
        AccountCommand, ChatCommand, ClientError, Command, Device, DeviceStanding, ErrorKind, Event,
        Password, Reply,
    },
    driver::{Client, ClientOptions, Notice, Profile},
    setup::{LoggedIn, Reset, ResetOptions, login, reset},
};
use sotto_proto::{Username, frame::ResetState};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::world::{Answers, PASSWORD, World, rows, run_login, run_register, secret, send, soon};

const NEW: &str = "another horse";

fn password(text: &str) -> Password {
    Password::new(secret(text))
}

async fn account(client: &Client, command: AccountCommand) -> Result<Reply, ClientError> {
    soon(client.command(Command::Account(command))).await
}

async fn devices(client: &Client) -> Vec<Device> {
    match account(client, AccountCommand::Devices).await.unwrap() {
        Reply::Devices(devices) => devices,
        other => panic!("{other:?}"),
    }
}

/// Signs a machine in without the recovery phrase: what waits, and where its code comes.
fn waiting(
    world: &World,
    profile: &str,
    name: &str,
) -> (JoinHandle<Result<LoggedIn, ClientError>>, mpsc::UnboundedReceiver<String>) {
    let (codes, shown) = mpsc::unbounded_channel();
    let answers = Arc::new(Answers { code: Some(codes), ..Answers::default() });
    (tokio::spawn(login(world.sign_in(profile, name, None), answers)), shown)
}

async fn event(events: &mut sotto_client::driver::Events, wanted: impl Fn(&Event) -> bool) -> Event {
    soon(async {
        loop {
            match events.next().await.expect("the client goes on") {
                Notice::Event(event) if wanted(&event) => return event,
                _ => {}
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_the_phrase_waits_and_is_approved_by_its_code() {
    let mut world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    let alice = world.client("alice").await;
    soon(alice.wait_online()).await.unwrap();
    let mut events = alice.events();

    let (first, mut shown) = waiting(&world, "laptop", "alice");
    let code = soon(shown.recv()).await.unwrap();
    event(&mut events, |event| matches!(event, Event::DevicesWait(waiting) if waiting.len() == 1)).await;
    let error = Profile::lock(&world.dir("laptop")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ProfileInUse);
    // Interrupted; the same command again shows the same code, also after the server was away.
    first.abort();
    assert!(soon(first).await.is_err());
    let (second, mut shown) = waiting(&world, "laptop", "alice");
    assert_eq!(soon(shown.recv()).await.unwrap(), code);
    world.server.restart();
    soon(async {
        loop {
            soon(alice.wait_online()).await.ok();
            let waits = |device: &Device| device.standing == DeviceStanding::Waiting;
            match alice.command(Command::Account(AccountCommand::Devices)).await {
                Ok(Reply::Devices(devices)) if devices.iter().any(waits) => return,
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    })
    .await;

    let approve = |code: &str, text: &str| AccountCommand::ApproveDevice {
        code: code.to_owned(),
        password: password(text),
    };
    for (code, text, kind) in [
        ("not a code", PASSWORD, ErrorKind::Invalid),
        ("aaaa-aaaa-aaaa-aaaa", PASSWORD, ErrorKind::NotFound),
        (&code, "wrong", ErrorKind::LoginNeeded),
    ] {
        assert_eq!(account(&alice, approve(code, text)).await.unwrap_err().kind, kind, "{code} {text}");
    }
    assert!(shown.try_recv().is_err(), "nobody has approved it");
    // The wrong try above slows the next one down for a moment.
    let approved = soon(async {
        loop {
            match account(&alice, approve(&code.to_uppercase().replace('-', " "), PASSWORD)).await {
                Err(error) if error.kind == ErrorKind::Limit => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                done => return done,
            }
        }
    })
    .await
    .unwrap();
    let Reply::Devices(after) = approved else { panic!("{approved:?}") };
    assert_eq!(after.len(), 2, "{after:?}");
    soon(second).await.unwrap().unwrap().published.unwrap();
    assert_eq!(soon(shown.recv()).await.unwrap(), "added to alice");

    let laptop = world.client("laptop").await;
    soon(laptop.wait_drained()).await.unwrap();
    let bob = world.client("bob").await;
    send(&bob, "alice", "to both").await;
    for client in [&alice, &laptop] {
        soon(async {
            while !rows(client).await.iter().any(|row| row.from == "bob") {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    // Each knows what the other one is called.
    for client in [&alice, &laptop] {
        soon(async {
            loop {
                let mut names: Vec<String> =
                    devices(client).await.into_iter().map(|device| device.name).collect();
                names.sort_unstable();
                if names == ["alice", "laptop"] {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    for client in [alice, laptop, bob] {
        client.close().await;
    }
    let mut open = Profile::lock(&world.dir("laptop")).unwrap().unlock(PASSWORD).unwrap();
    assert_eq!(open.recovery_phrase().err().unwrap().kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_waits_speaks_to_no_other_server() {
    let mut world = World::new();
    world.register("alice").await;
    let (codes, mut shown) = mpsc::unbounded_channel();
    let answers = Arc::new(Answers { code: Some(codes), ..Answers::default() });
    // On this machine nobody is asked whether the key is right.
    let bare = || {
        let mut options = world.sign_in("laptop", "alice", None);
        options.server.fingerprint = None;
        options
    };
    let waits = tokio::spawn(login(bare(), answers.clone()));
    soon(shown.recv()).await.unwrap();
    let (again, other_name) = (bare(), {
        let mut options = bare();
        options.server.host = "localhost".to_owned();
        options
    });
    let (home, usurper) = (world.dir("server"), world.dir("usurper"));
    world.server.usurp(&usurper);
    let error = soon(waits).await.unwrap().err().unwrap();
    assert_eq!(error.kind, ErrorKind::IdentityChanged, "{error:?}");
    // Nor does the same command again, whatever fingerprint is in its address.
    let mut told = world.sign_in("laptop", "alice", None);
    told.server = world.server.address.clone();
    for options in [again, other_name, told] {
        let error = soon(login(options, answers.clone())).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::IdentityChanged, "{error:?}");
    }
    assert_eq!(answers.pinned.lock().unwrap().len(), 1, "the usurper was never taken for the server");
    world.server.usurp(&home);
    let (waits, mut shown) = waiting(&world, "laptop", "alice");
    soon(shown.recv()).await.unwrap();
    waits.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_refused_is_told() {
    let world = World::new();
    world.register("alice").await;
    let alice = world.client("alice").await;
    soon(alice.wait_online()).await.unwrap();
    let (waits, mut shown) = waiting(&world, "laptop", "alice");
    soon(shown.recv()).await.unwrap();
    let device = devices(&alice).await.into_iter().find(|device| device.standing == DeviceStanding::Waiting);
    let device = device.unwrap().device.parse().unwrap();
    assert_eq!(account(&alice, AccountCommand::RefuseDevice(device)).await, Ok(Reply::Done));
    let error = soon(waits).await.unwrap().err().unwrap();
    assert_eq!(error.kind, ErrorKind::LoginNeeded);
    assert!(error.message.contains("not approved"), "{error:?}");
    alice.close().await;
    assert_eq!(
        Profile::lock(&world.dir("laptop")).unwrap().unlock(PASSWORD).unwrap_err().kind,
        ErrorKind::LoginNeeded
    );
}

fn opens(world: &World, profile: &str, text: &str) -> bool {
    Profile::lock(&world.dir(profile)).unwrap().unlock(text).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_opens_the_account_and_this_device_and_a_wrong_one_changes_nothing() {
    let world = World::new();
    let alice = world.register("alice").await;
    let phrase = alice.recovery_phrase.expose();
    let client = world.client("alice").await;
    soon(client.wait_online()).await.unwrap();
    let change =
        |old: &str, new: &str| AccountCommand::ChangePassword { old: password(old), new: password(new) };
    assert_eq!(account(&client, change(PASSWORD, "")).await.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(account(&client, change(PASSWORD, NEW)).await, Ok(Reply::Done));
    // The old one is the wrong one now.
    assert_eq!(account(&client, change(PASSWORD, "third")).await.unwrap_err().kind, ErrorKind::LoginNeeded);
    client.close().await;
    for (text, right) in [(PASSWORD, false), ("third", false), (NEW, true)] {
        assert_eq!(opens(&world, "alice", text), right, "{text}");
    }
    let mut options = world.sign_in("second", "alice", Some(phrase));
    options.password = secret(NEW);
    run_login(options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_elsewhere_opens_this_device_once_the_server_has_taken_it() {
    let world = World::new();
    let alice = world.register("alice").await;
    let phrase = alice.recovery_phrase.expose();
    run_login(world.sign_in("second", "alice", Some(phrase))).await.unwrap();
    let change =
        |old: &str, new: &str| AccountCommand::ChangePassword { old: password(old), new: password(new) };
    let first = world.client("alice").await;
    soon(first.wait_online()).await.unwrap();
    assert_eq!(account(&first, change(PASSWORD, NEW)).await, Ok(Reply::Done));
    first.close().await;

    let second = world.client("second").await;
    soon(second.wait_online()).await.unwrap();
    let vault = || std::fs::read(world.dir("second").join("vault")).unwrap();
    let before = vault();
    let wrong = account(&second, change("a guess", "third")).await.unwrap_err();
    assert_eq!((wrong.kind, wrong.message.as_str()), (ErrorKind::LoginNeeded, "the password is wrong"));
    assert_eq!(vault(), before);
    // The wrong try above slows the next one down for a moment.
    soon(async {
        loop {
            match account(&second, change(NEW, NEW)).await {
                Err(error) if error.kind == ErrorKind::Limit => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                done => return done,
            }
        }
    })
    .await
    .unwrap();
    second.close().await;
    for (text, right) in [(PASSWORD, false), ("third", false), (NEW, true)] {
        assert_eq!(opens(&world, "second", text), right, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_face_with_a_person_makes_the_account_available_while_it_is_there() {
    let world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    let owner = world.client("alice").await;
    let bob = world.client("bob").await;
    soon(owner.wait_online()).await.unwrap();
    soon(bob.wait_online()).await.unwrap();
    let presence = async |wanted: &str| {
        soon(async {
            loop {
                let Reply::Users(users) = bob.command(Command::Users).await.unwrap() else { panic!() };
                if users.iter().any(|user| user.name == "alice" && user.presence == wanted) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    presence("offline").await;
    let invite = || Command::Chat(ChatCommand::Invite(vec![Username::parse("bob").unwrap()]));
    assert_eq!(soon(owner.command(invite())).await.unwrap_err().kind, ErrorKind::Invalid);
    let person = ClientOptions { interactive: true, ..ClientOptions::default() };
    let first = soon(Client::attach(&world.dir("alice"), person)).await.unwrap().unwrap();
    // At once, for a face that has come may ask at once; bob has nobody in front of it.
    assert_eq!(soon(first.command(invite())).await.unwrap_err().kind, ErrorKind::NotFound);
    presence("available").await;
    let second = soon(Client::attach(&world.dir("alice"), person)).await.unwrap().unwrap();
    first.close().await;
    presence("available").await;
    second.close().await;
    presence("offline").await;
    owner.close().await;
    bob.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_identity_waits_can_be_refused_and_goes_on_with_the_same_keys() {
    let world = World::new();
    let registered = world.register("alice").await;
    let alice = world.client("alice").await;
    soon(alice.wait_online()).await.unwrap();
    let mut events = alice.events();
    let again = async || {
        let options = ResetOptions {
            dir: world.dir("new"),
            server: world.server.address.clone(),
            username: "alice".to_owned(),
            password: secret(PASSWORD),
            name: "new".to_owned(),
        };
        soon(reset(options, Arc::new(Answers::default()))).await
    };
    let waits = |asked: Result<Reset, ClientError>| match asked {
        Ok(Reset::Waits { due_ms, code }) => (due_ms, code),
        Ok(Reset::Done(_)) => panic!("it is done already"),
        Err(error) => panic!("{error:?}"),
    };
    let (due_ms, code) = waits(again().await);
    let told = event(&mut events, |event| matches!(event, Event::Reset(_))).await;
    assert_eq!(told, Event::Reset(ResetState::Pending(due_ms)));
    assert_eq!(waits(again().await), (due_ms, code), "the same request goes on");
    // Nothing else takes the place of the keys that the server will give the name to.
    let mut other = world.registration("new", "carol");
    assert_eq!(run_register(other).await.err().unwrap().kind, ErrorKind::Invalid);
    assert_eq!(run_login(world.sign_in("new", "alice", None)).await.unwrap_err().kind, ErrorKind::Invalid);

    assert_eq!(account(&alice, AccountCommand::RefuseReset).await, Ok(Reply::Done));
    let refused = again().await.err().unwrap();
    assert_eq!(refused.kind, ErrorKind::LoginNeeded);
    assert!(refused.message.contains("refused"), "{refused:?}");
    assert!(!Profile::exists(&world.dir("new")), "its keys are of no use any more");
    let (later_ms, later) = waits(again().await);
    assert!(later_ms > due_ms && later != code, "it was asked for anew, with other keys");
    world.server.reset_now("alice", &later.to_string());
    let Ok(Reset::Done(new)) = again().await else { panic!("it is done") };
    new.published.unwrap();
    assert_ne!(new.recovery_phrase.expose(), registered.recovery_phrase.expose());
    let stopped = event(&mut events, |event| matches!(event, Event::Stopped(_))).await;
    assert!(matches!(&stopped, Event::Stopped(error) if error.kind == ErrorKind::LoginNeeded), "{stopped:?}");
    alice.close().await;
    let mut open = Profile::lock(&world.dir("new")).unwrap().unlock(PASSWORD).unwrap();
    assert_eq!(open.recovery_phrase().unwrap().expose(), new.recovery_phrase.expose());
    other = world.registration("late", "alice");
    assert_eq!(run_register(other).await.err().unwrap().kind, ErrorKind::NameTaken);
}
