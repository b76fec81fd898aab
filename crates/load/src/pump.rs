//! Sending and receiving at full speed over one connection.

use std::ops::Range;

use anyhow::{bail, ensure};
use sotto_proto::{
    QueueNumber,
    frame::{Ack, ClientFrame, Outcome, ServerFrame},
};

use crate::{envelopes, link::Link, person::Person};

/// The first request id of ready frames; those of the login are below.
const FIRST_REQUEST: u32 = 1000;

/// Ready Submits of one sender.
pub(crate) struct Cargo {
    frames: Vec<Vec<u8>>,
    messages: u64,
}

impl Cargo {
    /// The messages of these numbers in Submits of `together` envelopes; each Submit goes to one of `to`, in turn, from
    /// the one in place `first` on.
    pub(crate) fn load(
        from: &Person,
        to: &[impl AsRef<Person>],
        first: usize,
        numbers: Range<u64>,
        together: usize,
    ) -> anyhow::Result<Self> {
        let messages = numbers.end - numbers.start;
        let mut frames = Vec::new();
        let mut rest = numbers.peekable();
        for (request, person) in (FIRST_REQUEST..).zip(to.iter().cycle().skip(first % to.len().max(1))) {
            if rest.peek().is_none() {
                break;
            }
            let numbers: Vec<u64> = rest.by_ref().take(together).collect();
            frames.push(envelopes::submit(request, from, person.as_ref(), numbers)?);
        }
        Ok(Self { frames, messages })
    }

    /// How many messages.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Sends all, with at most `window` Submits under way, until each was answered. Every envelope must be stored.
    pub(crate) async fn send(self, link: &mut Link, window: usize) -> anyhow::Result<()> {
        let all = self.frames.len();
        let (mut sent, mut answered, mut stored) = (0, 0, 0);
        let mut frames = self.frames.into_iter();
        while answered < all {
            let room = window.saturating_sub(sent - answered);
            let bytes: Vec<u8> = frames.by_ref().take(room).inspect(|_| sent += 1).flatten().collect();
            if !bytes.is_empty() {
                link.write(&bytes).await?;
            }
            link.fill().await?;
            while let Some(frame) = link.ready()? {
                match frame {
                    ServerFrame::Submitted(submitted) => {
                        answered += 1;
                        for device in submitted.devices {
                            match device.outcome {
                                Outcome::Stored { .. } => stored += 1,
                                other => bail!("an envelope was not stored but {other:?}"),
                            }
                        }
                    }
                    ServerFrame::Taken(_) => {}
                    other => bail!("Submit was answered by {other:?}"),
                }
            }
        }
        ensure!(stored == self.messages, "{stored} messages were stored of {}", self.messages);
        Ok(())
    }
}

/// Receives the messages of these numbers, each once and in order, and acks as a client does: everything up to here is
/// on my disk, with one ack under way. Returns when the last ack was answered.
pub(crate) async fn receive(link: &mut Link, numbers: Range<u64>) -> anyhow::Result<()> {
    let incarnation = link.incarnation()?;
    let mut next = numbers.start;
    let mut unacked: Option<QueueNumber> = None;
    let mut acking = false;
    loop {
        while let Some(frame) = link.ready()? {
            match frame {
                ServerFrame::Deliver(deliver) => {
                    let number = envelopes::number(&deliver.envelope)?;
                    ensure!(number == next, "message {number} came where {next} was due");
                    ensure!(number < numbers.end, "more came than was sent");
                    next += 1;
                    unacked = Some(deliver.number);
                }
                ServerFrame::Done => acking = false,
                ServerFrame::Drained(_) | ServerFrame::Taken(_) => {}
                other => bail!("instead of a message came {other:?}"),
            }
        }
        if !acking {
            match unacked.take() {
                Some(through) => {
                    link.send(&ClientFrame::Ack(Ack { incarnation, through })).await?;
                    acking = true;
                }
                None if next == numbers.end => return Ok(()),
                None => {}
            }
        }
        link.fill().await?;
    }
}
