//! Submits that are ready before the clock starts. Their envelopes have the size of a text of up to about 1.5 KiB (all
//! of those look alike) and hold random bytes, which no compression makes smaller; the server cannot tell the difference.

use anyhow::{Context as _, ensure};
use rand_core::Rng as _;
use sotto_proto::{
    Envelope, FateTag, PrekeyPublic, SubmissionId,
    envelope::PART1_LENGTH,
    frame::{ClientFrame, OutgoingEnvelope, Submit},
    limits::{FLOOR_ENVELOPE, PADDING_FLOOR},
};

use crate::person::Person;

/// Bytes of an AEAD tag.
const TAG: usize = 16;

/// One envelope. The first bytes of what would be its key are a number, so that a reader can check the order.
fn envelope(number: u64) -> Vec<u8> {
    let rng = &mut rand::rng();
    let mut ephemeral = [0; 32];
    rng.fill_bytes(&mut ephemeral);
    for (to, from) in ephemeral.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    let (mut part1, mut part2) = (vec![0; PART1_LENGTH], vec![0; PADDING_FLOOR + TAG]);
    rng.fill_bytes(&mut part1);
    rng.fill_bytes(&mut part2);
    Envelope { ephemeral: PrekeyPublic(ephemeral), part1, part2 }.encode()
}

/// The number in an envelope that [`submit`] made.
pub(crate) fn number(envelope: &[u8]) -> anyhow::Result<u64> {
    ensure!(envelope.len() == FLOOR_ENVELOPE, "an envelope of {} bytes came", envelope.len());
    let (_version, rest) = envelope.split_first().context("an empty envelope came")?;
    Ok(u64::from_be_bytes(*rest.first_chunk().context("an envelope without its key came")?))
}

/// The frame of a Submit with the envelopes of these numbers.
pub(crate) fn submit(
    request: u32,
    from: &Person,
    to: &Person,
    numbers: impl IntoIterator<Item = u64>,
) -> anyhow::Result<Vec<u8>> {
    let rng = &mut rand::rng();
    let mut random = || {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let submission = SubmissionId(random());
    let envelopes = numbers
        .into_iter()
        .map(|number| OutgoingEnvelope {
            account: to.account,
            device: to.device,
            fate_tag: FateTag(random()),
            transient: false,
            envelope: envelope(number).into(),
        })
        .collect();
    let submit = Submit { submission, lists: vec![from.used(), to.used()], envelopes };
    Ok(ClientFrame::Submit(submit).encode(request)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_the_floor_s_size_and_reads_back() {
        let bytes = envelope(0x0102_0304_0506_0708);
        assert_eq!(number(&bytes).unwrap(), 0x0102_0304_0506_0708);
        assert!(Envelope::parse(&bytes).is_ok());
        assert_ne!(envelope(1), envelope(1), "no two are the same");
        assert!(number(&bytes[1..]).is_err());
    }
}
