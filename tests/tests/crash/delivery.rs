//! What was promised, compared with what came.

use std::collections::HashSet;

use anyhow::{bail, ensure};
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
