//! `sotto demo`: the main job, for real and in a few seconds. The server is a process of its own that gets killed, the
//! clients are this program's ordinary commands in processes of their own, each with a profile of its own.

mod program;
mod proof;
mod stage;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use sotto_client::api::ErrorKind;

use self::program::{Client, Program, Server, field};
use self::proof::Proof;
use self::stage::Stage;
use crate::failure::Failure;
use crate::output::Output;
use crate::record::Record;

/// Searched for on the server's side, where it must not be, and on bob's, where it must.
const PLANTED: &str = "the spare key is under the third flower pot";
/// Lines of the long message; the server is killed when a third of them is stored.
const LINES: usize = 30;
const STORED_BEFORE_KILL: usize = 10;
/// Nothing here takes longer than a second or two; a demo that hangs is one that failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// Shows the main job and checks every step of it.
pub(crate) async fn run(out: &mut Output) -> Result<(), Failure> {
    // Dropped when a signal drops this future: ends the programs, removes the folder.
    let folder =
        tempfile::tempdir().map_err(|error| Failure::io("there is no place for the demo", &error))?;
    let mut proof = Proof::default();
    let shown = tokio::time::timeout(PATIENCE, show(folder.path(), &mut proof, out)).await;
    let complete = match shown {
        Ok(shown) => shown?,
        Err(_) => {
            return Err(Failure::new(ErrorKind::Timeout, "the demo hangs")
                .hint("run it again with more time for the machine, or report it"));
        }
    };
    proof.check("the demo went through all of its steps", complete);
    for (what, ok) in proof.checks() {
        let record = Record::Check { ok: *ok, what: (*what).to_owned() };
        out.record(&record, |lines| Stage::verdict(what, *ok, lines))?;
    }
    let failed = proof.checks().iter().filter(|(_, ok)| !ok).count();
    if failed > 0 {
        return Err(Failure::new(ErrorKind::Invalid, format!("{failed} checks of the demo failed")));
    }
    out.people(|lines| lines.line("Every message arrived, once and in order."))?;
    Ok(())
}

/// The hidden server. It ends with its stdin, so it never outlives the demo, however that ended.
pub(crate) fn serve(args: Vec<OsString>) -> ExitCode {
    std::thread::spawn(|| {
        // Nobody writes there; it returns when the other end is closed.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
    sotto_server::main_from(std::iter::once(OsString::from("sottod")).chain(args))
}

async fn show(folder: &std::path::Path, proof: &mut Proof, out: &mut Output) -> Result<bool, Failure> {
    let program = Program::this(folder)?;
    let mut stage = Stage::new(out);

    out.people(|lines| {
        lines.line("A server and two people on this machine, each in processes and a folder of");
        lines.line("their own. All of it is real, and gone when this ends.");
        lines.line("");
    })?;
    stage.step("A server, and two people who register with it");
    let mut server = program.server("127.0.0.1:0").await?;
    let alice = program.client("alice");
    let bob = program.client("bob");
    for client in [&alice, &bob] {
        let registered = client.run(&["register", &server.address, client.name], Some("")).await?;
        stage.typed(client.name, &format!("register {} {}", server.host_port(), client.name));
        stage.said(if registered.code == 0 { "registered; recovery phrase printed" } else { "FAILED" });
        proof.check("both people could register", registered.code == 0);
    }
    // Alice's client stays; her other commands go through it, and it reconnects by itself.
    let mut resident = alice.start(&["recv", "--follow"], Some("")).await?;
    resident.noticed("connected").await?;
    stage.typed("alice", "recv --follow &");
    stage.shown(&mut server, out)?;

    stage.step("Bob is offline; Alice writes to him");
    let mut sent: Vec<(String, String)> = Vec::new();
    for text in ["hello bob", PLANTED] {
        let run = alice.run(&["send", "bob", text], None).await?;
        stage.typed("alice", &format!("send bob '{text}'"));
        let fate = run.last("fate");
        stage.said(match (field(&fate, "state"), connected(&fate)) {
            ("stored", false) => "queued (bob is offline)",
            ("stored", true) => "sent",
            _ => "FAILED",
        });
        proof.check("what Alice sent was stored while Bob was offline", field(&fate, "state") == "stored");
        sent.push((id_of(&fate), text.to_owned()));
    }
    stage.shown(&mut server, out)?;

    stage.step("The server is killed in the middle of a long message");
    killed_in_the_middle(&alice, &mut server, &mut stage, &mut sent, proof).await?;
    stage.shown(&mut server, out)?;

    stage.step("It is started again; Alice's outbox drains by itself");
    let mut server = program.server(&server.host_port()).await?;
    resident.noticed("connected").await?;
    let last = "that was all";
    let run = alice.run(&["send", "bob", last], None).await?;
    stage.typed("alice", &format!("send bob '{last}'"));
    sent.push((id_of(&run.last("fate")), last.to_owned()));
    let outbox = alice.run(&["outbox", "list"], None).await?;
    stage.typed("alice", "outbox list");
    let waiting = outbox.all("outbox").len();
    stage.said(&if waiting == 0 { "Nothing waits.".into() } else { format!("{waiting} still wait") });
    proof.check("the outbox drained by itself after the restart", run.code == 0 && waiting == 0);
    stage.shown(&mut server, out)?;

    stage.step("Bob connects and gets everything that waited");
    let replay = bob.run(&["recv"], Some("")).await?;
    let again = bob.run(&["recv"], Some("")).await?;
    stage.typed("bob", "recv");
    let got: Vec<(String, String)> =
        replay.all("message").iter().map(|message| (id_of(message), text_of(message))).collect();
    for (number, (_, text)) in got.iter().enumerate() {
        if number < 4 || number + 2 > got.len() {
            stage.said(&format!("alice: {text}"));
        } else if number == 4 {
            stage.said(&format!("... {} more lines ...", got.len().saturating_sub(5)));
        }
    }
    proof.check("Bob got every message once, in order", got == sent);
    proof.check("nothing is printed a second time", again.code == 0 && again.all("message").is_empty());
    stage.shown(&mut server, out)?;

    stage.step("Now both are there");
    both_there(&alice, &bob, &mut resident, &sent, &mut stage, proof).await?;
    resident.end().await?;
    stage.shown(&mut server, out)?;

    let found = proof::found_in(folder.join("server").as_path(), PLANTED)? || server.logged(PLANTED);
    proof.check("the planted sentence is nowhere in the server's folder or log", !found);
    proof.check("the same search finds it in what Bob got", proof::found(replay.stdout.as_bytes(), PLANTED));
    let code = server.stop().await?;
    proof.check("the server stops cleanly when asked to", code == Some(0));
    Ok(true)
}

/// Feeds `send --lines`, and kills the server while lines are on their way.
async fn killed_in_the_middle(
    alice: &Client<'_>,
    server: &mut Server,
    stage: &mut Stage,
    sent: &mut Vec<(String, String)>,
    proof: &mut Proof,
) -> Result<(), Failure> {
    let texts: Vec<String> = (1..=LINES).map(|n| format!("line {n} of {LINES}")).collect();
    let (before, after) = texts.split_at(LINES / 2);
    let mut long = alice.start(&["send", "bob", "--lines"], None).await?;
    stage.typed("alice", &format!("send bob --lines < {LINES}-lines.txt"));
    long.feed(before).await?;
    let mut stored = 0;
    while stored < STORED_BEFORE_KILL {
        let fate = long.next().await?;
        stored += usize::from(field(&fate, "state") == "stored");
    }
    long.feed(after).await?;
    server.kill().await?;
    stage.log("*** kill -9 ***");
    let run = long.finish().await?;
    let fates = run.all("fate");
    let mut ids: Vec<String> = Vec::new();
    for fate in &fates {
        let id = id_of(fate);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let stored = fates.iter().filter(|fate| field(fate, "state") == "stored").count();
    stage.said(&format!(
        "{stored} sent, {} waiting (exit code {})",
        ids.len().saturating_sub(stored),
        run.code
    ));
    proof.check("every line got an id and a fate", ids.len() == LINES);
    proof.check("what was not stored is said to wait", run.code == if stored == LINES { 0 } else { 6 });
    sent.extend(ids.into_iter().zip(texts));
    Ok(())
}

/// A message and its answer while both are connected.
async fn both_there(
    alice: &Client<'_>,
    bob: &Client<'_>,
    resident: &mut program::Running,
    sent: &[(String, String)],
    stage: &mut Stage,
    proof: &mut Proof,
) -> Result<(), Failure> {
    let mut listening = bob.start(&["recv", "--follow"], Some("")).await?;
    stage.typed("bob", "recv --follow &");
    let question = alice.run(&["send", "bob", "are you there?", "--wait", "delivered"], None).await?;
    stage.typed("alice", "send bob 'are you there?' --wait delivered");
    stage.said(field(&question.last("fate"), "state"));
    proof.check("a message is known to be delivered", question.code == 0);
    let heard = text_of(&listening.next().await?);
    stage.typed("bob", "(his screen)");
    stage.said(&format!("alice: {heard}"));
    let answer = bob.run(&["send", "alice", "yes, got it all"], None).await?;
    stage.typed("bob", "send alice 'yes, got it all'");
    stage.said(if connected(&answer.last("fate")) { "sent" } else { "queued" });
    let heard = text_of(&resident.next().await?);
    stage.typed("alice", "(her screen)");
    stage.said(&format!("bob: {heard}"));
    proof.check("an answer arrives", answer.code == 0 && heard == "yes, got it all");
    let history = alice.run(&["history", "bob"], None).await?;
    let fates = history.all("message");
    let delivered =
        |id: &String| fates.iter().any(|row| field(row, "id") == *id && field(row, "fate") == "delivered");
    let all = sent.iter().filter(|(id, _)| delivered(id)).count();
    stage.typed("alice", "history bob");
    stage.said(&format!("{all} of {} [delivered]", sent.len()));
    proof.check("Alice knows of every message that it was delivered", all == sent.len());
    listening.end().await
}

/// Whether a device of the recipient was there when the message was stored.
fn connected(fate: &Value) -> bool {
    fate.get("connected").and_then(Value::as_bool).unwrap_or_default()
}

fn id_of(object: &Value) -> String {
    field(object, "id").to_owned()
}

fn text_of(message: &Value) -> String {
    message.get("body").map(|body| field(body, "text")).unwrap_or_default().to_owned()
}
