//! Claims: the keys of devices that there is no session with, and devices that have published none.

use std::collections::{BTreeMap, BTreeSet};

use sotto_crypto::Purpose;
use sotto_proto::{
    AccountId, DeviceId,
    content::kind,
    frame::{Bundles, ClaimBundles, ClientFrame},
    limits::DAY_MS,
};

use super::{
    Core, CoreError, Step,
    lanes::earlier,
    requests::Asked,
    sealing::{failed_in, purpose},
};
use crate::store::{ContactRecord, Entry};

/// After how long a device without published keys is asked again, milliseconds; it has just been added.
pub(super) const KEYLESS_AGAIN_MS: u64 = 2_000;
/// After how long messages go on without such a device. It publishes keys as soon as it is connected, which at a server that was
/// set back takes a try or two. Since when it has none outlives connections and programs, so that the next message does not wait
/// again for a device that will never come.
const KEYLESS_GIVE_UP_MS: u64 = 60_000;
/// After how long it is asked for again then.
const GIVEN_UP_AGAIN_MS: u64 = 60_000;
/// For how long that is remembered: it may have had keys since, which nobody needed, and is waited for once more.
const KEYLESS_KNOWN_MS: u64 = 7 * DAY_MS;

/// Whether a batch can be sealed now.
pub(super) enum Ready {
    Yes,
    /// Not before this time; `None` when an answer will tell.
    Later(Option<u64>),
}

impl Core {
    /// Claims what is missing for sessions with the devices that a batch goes to.
    pub(super) fn ready(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        entries: &[Entry],
    ) -> Result<Ready, CoreError> {
        let mut lacking: BTreeMap<(AccountId, bool, bool), BTreeSet<DeviceId>> = BTreeMap::new();
        let mut waits = false;
        for entry in entries {
            let failed_in = failed_in(step, entry)?;
            let purpose = purpose(entry, &failed_in);
            for target in self.targets(contact, own, entry) {
                if self.unusable.contains(&target.device()) {
                    continue;
                }
                let given_up = self.given_up(step, &target.device());
                let sessions = self.sessions.with(step.tx, target.account, target.device())?;
                if let Some(bundle) = sessions.needs_bundle(purpose, step.now_ms) {
                    // Where those that were handed out were no good (one-time ones are signed for half a year only, and may
                    // have waited for longer), the next handshake does without.
                    let one_time = bundle.one_time && !self.bad_keys.contains(&target.device());
                    let key = (target.account, one_time, entry.kind == kind::RESEND_REQUEST);
                    lacking.entry(key).or_default().insert(target.device());
                    // One that was given up is asked for all the same, but nothing waits for it.
                    waits |= !given_up;
                }
            }
        }
        let mut wake_ms = None;
        for ((account, one_time, for_requests), devices) in lacking {
            if self.claiming.contains(&account) {
                continue;
            }
            // One that was given up is asked for along with the others, and puts none of them off.
            let fresh: Vec<_> = devices.iter().filter(|device| !self.given_up(step, device)).collect();
            let waiting = if fresh.is_empty() { devices.iter().collect() } else { fresh };
            let again_ms =
                waiting.iter().filter_map(|device| self.keyless.get(device)).map(|(_, again)| *again).max();
            if let Some(again_ms) = again_ms.filter(|again_ms| *again_ms > step.now_ms) {
                wake_ms = earlier(wake_ms, Some(again_ms));
                continue;
            }
            self.claiming.insert(account);
            let devices: Vec<DeviceId> = devices.into_iter().collect();
            let frame =
                ClientFrame::ClaimBundles(ClaimBundles { account, devices: devices.clone(), one_time });
            self.send(step, Asked::Bundles { account, devices, for_requests }, frame);
        }
        Ok(if waits { Ready::Later(wake_ms) } else { Ready::Yes })
    }

    /// Whether messages go on without a device: it stands in its account's list but has had no keys that are good for a while,
    /// and had none when it was last asked for, which was not long ago.
    pub(super) fn given_up(&self, step: &Step<'_, '_>, device: &DeviceId) -> bool {
        if self.unusable.contains(device) {
            return true;
        }
        self.keyless.get(device).is_some_and(|(since_ms, again_ms)| {
            step.now_ms < *again_ms && is_long(step.now_ms.saturating_sub(*since_ms))
        })
    }

    /// Devices that messages go on without, each with when its keys are asked for again, if not yet.
    pub(super) fn put_off(&self, step: &Step<'_, '_>) -> Vec<(DeviceId, u64)> {
        let waits = |(device, (_, again_ms)): (&DeviceId, &(u64, u64))| {
            self.given_up(step, device).then_some((*device, *again_ms))
        };
        self.keyless.iter().filter_map(waits).collect()
    }

    /// A device has keys, or has written first: nothing waits for it any more.
    pub(super) fn keyed(&mut self, step: &Step<'_, '_>, device: &DeviceId) -> Result<(), CoreError> {
        self.keyless.remove(device);
        Ok(step.tx.forget_number(&keyless_name(device))?)
    }

    /// Bundles that were claimed: a handshake with each.
    pub(super) fn bundles(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        asked: &[DeviceId],
        for_requests: bool,
        bundles: Bundles,
    ) -> Result<(), CoreError> {
        self.claiming.remove(&account);
        let Some(contact) = step.tx.contact(&account)? else { return Ok(()) };
        // What the server says nothing of is without keys as well.
        let mut without: BTreeSet<DeviceId> = asked.iter().copied().collect();
        for bundle in bundles.bundles {
            let device = bundle.device;
            let Some(certificate) = contact.list.list().device(&device).filter(|_| asked.contains(&device))
            else {
                continue;
            };
            let Ok(pair) = self.sessions.pair(&self.me.secret, &self.me.certificate, certificate) else {
                continue;
            };
            // A request's handshake may serve no message's session and the other way round; the purpose decides.
            let purpose =
                if for_requests { Purpose::ResendRequest { failed_in: &[] } } else { Purpose::Message };
            let sessions = self.sessions.with(step.tx, account, device)?;
            match sessions.start(&mut step.rng, &pair, &bundle, purpose, step.now_ms) {
                Ok(next) => {
                    self.keyed(step, &device)?;
                    without.remove(&device);
                    self.bad_keys.remove(&device);
                    self.sessions.replace(account, device, next);
                }
                Err(error) => {
                    step.warn(format!("the server handed out bad keys for {}: {error}", contact.username));
                    self.bad_keys.insert(device);
                }
            }
        }
        for device in without {
            let since_ms = keyless_since(step, &device)?;
            let long = is_long(step.now_ms.saturating_sub(since_ms));
            let after_ms = if long { GIVEN_UP_AGAIN_MS } else { KEYLESS_AGAIN_MS };
            self.keyless.insert(device, (since_ms, step.now_ms.saturating_add(after_ms)));
        }
        Ok(())
    }
}

/// The name of the number in `meta` that says since when a device had no keys that are good, Unix milliseconds.
fn keyless_name(device: &DeviceId) -> String {
    format!("keyless {device}")
}

/// Since when a device has none; from now on, if it is news.
fn keyless_since(step: &Step<'_, '_>, device: &DeviceId) -> Result<u64, CoreError> {
    let name = keyless_name(device);
    let since_ms = step.tx.number(&name)?;
    // One from the future is from a clock that was set back.
    if since_ms <= step.now_ms && step.now_ms - since_ms < KEYLESS_KNOWN_MS {
        return Ok(since_ms);
    }
    step.tx.set_number(&name, step.now_ms)?;
    Ok(step.now_ms)
}

/// Whether a device was without keys for so long that messages go on without it.
fn is_long(keyless_ms: u64) -> bool {
    keyless_ms >= KEYLESS_GIVE_UP_MS
}
