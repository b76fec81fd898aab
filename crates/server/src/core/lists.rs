//! Device lists: looking them up, replacing one's own, and taking a newer one that a sender hands over.

use std::sync::Arc;

use sotto_proto::{
    DeviceId, SignedDeviceList,
    device_list::{MAX_AHEAD_S, SuccessionError},
    frame::{ErrorCode, ErrorReply, Lists, LookupLists, PUSH, ReplaceList, ServerFrame},
    limits::MAX_LISTS,
};
use sotto_store::{AccountRecord, ReplaceOutcome};

use super::{
    ATTEMPTS, Core, Found, Refused, SendClass, StoreCall,
    connection::{Queued, Ticket},
    known::{AccountRef, Known},
    register::too_far_ahead,
    step::{ListSource, Step},
};

impl Core {
    pub(super) fn lookup_lists(
        &mut self,
        ticket: Ticket,
        lookup: &LookupLists,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        self.session(ticket.connection)?;
        let count = lookup.names.len().saturating_add(lookup.accounts.len());
        if count > MAX_LISTS {
            return Err((ErrorCode::LIMIT, format!("at most {MAX_LISTS} lists at a time").into()));
        }
        // A name that breaks the rules belongs to nobody.
        let names =
            lookup.names.iter().map(|name| sotto_proto::Username::parse(name).ok().map(AccountRef::Name));
        let ids = lookup.accounts.iter().map(|account| Some(AccountRef::Id(*account)));
        let lists: Vec<_> = names
            .chain(ids)
            .map(|wanted| found.find(&mut self.known, &wanted?))
            .map(|known| known.map(|known| known.list.as_bytes().to_vec().into()))
            .collect();
        let there = lists.iter().flatten().count();
        self.answer(ticket, &ServerFrame::Lists(Lists { lists }), format!("{there} of {count} lists given"));
        Ok(())
    }

    pub(super) fn replace_list(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        replace: &ReplaceList,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let proven = self.connections.get(&ticket.connection).and_then(|connection| connection.proven);
        let (account, _) = proven
            .ok_or((ErrorCode::LOGIN_NEEDED, "a login by password or account key comes first".into()))?;
        let known = self.own(found, account)?;
        if known.list.as_bytes() == replace.list.as_slice() {
            self.answer(ticket, &ServerFrame::Done, "the same device list again");
            return Ok(());
        }
        let list = check_successor(&known, &replace.list, now_ms)?;
        if known.hash != replace.expected {
            return Err((ErrorCode::CONFLICT, "the server has another device list; merge with it".into()));
        }
        self.block(ticket.connection);
        self.call_replace(ListSource::Request(ticket), known, list);
        Ok(())
    }

    pub(super) fn call_replace(&mut self, source: ListSource, known: Arc<Known>, list: SignedDeviceList) {
        let new = with_list(&known.record, &list);
        let call = StoreCall::ReplaceAccount { expected: known.record.clone(), new };
        self.call(Step::ReplaceList { source, known, list: Box::new(list) }, call);
    }

    pub(super) fn list_replaced(
        &mut self,
        now_ms: u64,
        source: ListSource,
        known: &Known,
        list: &SignedDeviceList,
        outcome: ReplaceOutcome,
    ) {
        let ticket = source.ticket();
        let refused: Option<Refused> = match outcome {
            ReplaceOutcome::Replaced(revision) => {
                let record = AccountRecord { revision, ..with_list(&known.record, list) };
                self.remember(record);
                None
            }
            ReplaceOutcome::Conflict(newest) => {
                let newest = self.remember(*newest);
                // Only something else in the record changed: the list follows as it did.
                if let Some(newest) = newest.filter(|newest| newest.hash == known.hash) {
                    return self.call_replace(source, newest, list.clone());
                }
                Some((ErrorCode::CONFLICT, "the device list changed meanwhile; merge with it".into()))
            }
            ReplaceOutcome::Unknown => {
                Some((ErrorCode::UNKNOWN_USER, "this server has no such account".into()))
            }
            ReplaceOutcome::Collision => {
                Some((ErrorCode::COLLISION, "the new device's id is in use; make another".into()))
            }
        };
        let replaced = refused.is_none();
        match (source, refused) {
            (ListSource::Request(ticket), None) => {
                let devices = list.list().devices.len();
                self.answer(ticket, &ServerFrame::Done, format!("device list replaced, {devices} devices"));
            }
            // The Submit starts again and finds what is there now, be it its own list or a newer one.
            (ListSource::Submit { ticket, submit, attempts }, None | Some((ErrorCode::CONFLICT, _)))
                if usize::from(attempts) < MAX_LISTS + usize::from(ATTEMPTS) =>
            {
                self.again(ticket, submit, attempts + 1);
            }
            (ListSource::Submit { ticket, .. }, None) => {
                self.refuse(
                    ticket,
                    (ErrorCode::BUSY, "the device lists change all the time; try again".into()),
                );
            }
            (_, Some(refused)) => self.refuse(ticket, refused),
        }
        if replaced {
            self.approve_waiting(known, list);
            self.close_removed(known, list);
        }
        self.unblock(now_ms, ticket.connection);
    }

    /// Puts a Submit back to the head of its connection's line.
    fn again(&mut self, ticket: Ticket, submit: sotto_proto::frame::Submit, attempts: u8) {
        if let Some(connection) = self.connections.get_mut(&ticket.connection) {
            connection.queue.push_front(Queued {
                ticket,
                frame: sotto_proto::frame::ClientFrame::Submit(submit),
                found: Vec::new(),
                fetching: Vec::new(),
                looked: false,
                attempts,
            });
        }
    }

    /// Ends the connections of devices that are no longer in the list.
    fn close_removed(&mut self, old: &Known, new: &SignedDeviceList) {
        let removed: Vec<DeviceId> = old
            .list
            .list()
            .devices
            .iter()
            .map(|signed| signed.certificate().device)
            .filter(|device| new.list().device(device).is_none())
            .collect();
        for device in removed {
            let Some(connection) = self.devices.get(&device).copied() else { continue };
            let reply = ErrorReply {
                code: ErrorCode::UNKNOWN_DEVICE,
                message: "this device was removed from its account".into(),
                retry_after_ms: None,
            };
            self.send(connection, PUSH, &ServerFrame::Error(reply), SendClass::Notice);
            self.close(connection);
        }
    }
}

/// Whether these bytes are a list that may take the place of the known one.
pub(super) fn check_successor(known: &Known, bytes: &[u8], now_ms: u64) -> Result<SignedDeviceList, Refused> {
    let list = SignedDeviceList::parse(bytes)
        .map_err(|error| (ErrorCode::BAD_KEYS, format!("the device list: {error}").into()))?;
    list.follows(&known.list).map_err(|error| {
        let code = match error {
            SuccessionError::Identity => ErrorCode::BAD_KEYS,
            SuccessionError::Older
            | SuccessionError::Fork
            | SuccessionError::RevocationLost
            | SuccessionError::Recertified => ErrorCode::CONFLICT,
        };
        (code, error.to_string().into())
    })?;
    let number = list.list().number;
    let ahead = number > (now_ms / 1000).saturating_add(MAX_AHEAD_S);
    if ahead && number != known.number().saturating_add(1) {
        return Err((ErrorCode::BAD_KEYS, too_far_ahead().into()));
    }
    Ok(list)
}

fn with_list(record: &AccountRecord, list: &SignedDeviceList) -> AccountRecord {
    AccountRecord {
        list: list.as_bytes().to_vec(),
        devices: list.list().devices.iter().map(|signed| signed.certificate().device).collect(),
        ..record.clone()
    }
}
