//! What was promised, compared with what came.

use std::collections::HashSet;

use anyhow::{Context, bail, ensure};
use sotto_tests::running::Running;
use sotto_tests::sotto::{COMMAND, Fate, Message, object};

/// Reads so many fates of any kind from a running `send`, or fewer if it ends; answers the ids of the messages that are
/// safe. Each message is first told as waiting and then as stored, many at a time, so that a number up to twice that of
/// the messages is a moment anywhere between the start and the end.
pub(crate) fn safe_after(sender: &Running, fates: usize) -> anyhow::Result<HashSet<String>> {
    let mut safe = HashSet::new();
    for _ in 0..fates {
        let Some(line) = sender.line(COMMAND)? else { break };
        note(&line, &mut safe)?;
    }
    Ok(safe)
}

/// What a `send` that has ended, or was killed, told of as stored.
pub(crate) fn told_safe(stdout: &[String]) -> anyhow::Result<HashSet<String>> {
    let mut safe = HashSet::new();
    for line in whole(stdout) {
        note(line, &mut safe)?;
    }
    Ok(safe)
}

/// The lines of a program that may have been killed: that can cut the last one off.
fn whole(stdout: &[String]) -> impl Iterator<Item = &String> {
    stdout.iter().filter(|line| line.ends_with('}'))
}

/// Reads what a `send` that ends, or was killed, has still to say.
pub(crate) fn safe_until_end(sender: &Running, safe: &mut HashSet<String>) -> anyhow::Result<()> {
    while let Some(line) = sender.line(COMMAND)? {
        // A kill can cut the last line off.
        if line.ends_with('}') {
            note(&line, safe)?;
        }
    }
    Ok(())
}

fn note(line: &str, safe: &mut HashSet<String>) -> anyhow::Result<()> {
    if let Some(fate) = Fate::from_object(&object(line)?).filter(Fate::is_safe) {
        safe.insert(fate.id);
    }
    Ok(())
}

/// Every line, in order, once.
pub(crate) fn expect_all(history: &[Message], lines: &[String]) -> anyhow::Result<()> {
    for (at, (message, line)) in history.iter().zip(lines).enumerate() {
        if message.text != *line {
            bail!("place {at} of the history says {:?} instead of {line:?}", message.text);
        }
    }
    ensure!(
        history.len() == lines.len(),
        "{} messages in the history instead of {}",
        history.len(),
        lines.len()
    );
    expect_no_twins(history)
}

/// The first lines, as many as there are, in order, once.
pub(crate) fn expect_prefix(history: &[Message], lines: &[String]) -> anyhow::Result<()> {
    expect_all(history, lines.get(..history.len()).context("more messages than lines")?)
}

/// What one or several `recv` printed together: each line, in order; at most this many of them twice, at once.
pub(crate) fn expect_printed(stdout: &[String], lines: &[String], twice: usize) -> anyhow::Result<()> {
    let mut printed = Vec::new();
    for line in whole(stdout) {
        printed.extend(Message::from_object(&object(line)?));
    }
    let all = printed.len();
    printed.dedup_by(|a, b| a.id == b.id);
    expect_all(&printed, lines).context("printed")?;
    ensure!(all <= lines.len() + twice, "{all} lines printed for {} messages", lines.len());
    Ok(())
}

/// After its recipient has fetched everything: what the sender's history says is what happened.
pub(crate) fn expect_true_fates(written: &[Message], received: &[Message]) -> anyhow::Result<()> {
    let there: HashSet<&String> = received.iter().map(|message| &message.id).collect();
    for Message { id, text, fate, .. } in written {
        let told = matches!(fate.as_deref(), Some("delivered" | "read"));
        ensure!(told == there.contains(id), "{text:?} is {fate:?} to its sender, who is wrong");
    }
    ensure!(written.len() == received.len(), "{} written, {} received", written.len(), received.len());
    Ok(())
}

/// No line that was not written, none twice, none out of order; some may be missing, but none of those marked safe.
pub(crate) fn expect_safe(
    history: &[Message],
    lines: &[String],
    safe: &HashSet<String>,
) -> anyhow::Result<()> {
    let mut rest = lines.iter();
    for message in history {
        ensure!(
            rest.any(|line| *line == message.text),
            "{:?} was never written, is there twice, or out of order",
            message.text
        );
    }
    let there: HashSet<&String> = history.iter().map(|message| &message.id).collect();
    let lost: Vec<&String> = safe.iter().filter(|id| !there.contains(id)).collect();
    ensure!(
        lost.is_empty(),
        "{} of {} messages whose sender saw them stored are lost; the history has {} of {} lines",
        lost.len(),
        safe.len(),
        history.len(),
        lines.len()
    );
    expect_no_twins(history)
}

fn expect_no_twins(history: &[Message]) -> anyhow::Result<()> {
    let ids: HashSet<&String> = history.iter().map(|message| &message.id).collect();
    ensure!(ids.len() == history.len(), "{} ids for {} messages", ids.len(), history.len());
    Ok(())
}
