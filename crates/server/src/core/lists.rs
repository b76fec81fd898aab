//! Device lists: looking them up, replacing one's own, and taking a newer one that a sender hands over.

use std::sync::Arc;

use sotto_proto::{
    DeviceId, ListHash, SignedDeviceList,
    device_list::{MAX_AHEAD_S, SuccessionError},
    frame::{
        ClientFrame, ErrorCode, ErrorReply, ListChanged, Lists, LookupLists, PUSH, ReplaceList, ServerFrame,
        Submit,
    },
    limits::{MAX_DEVICE_LIST, MAX_LISTS},
};
use sotto_store::AccountRecord;

use super::{
    ATTEMPTS, Core, Found, Job, Refused, SendClass, Verification,
    changes::{Change, Editor, What},
    connection::{Queued, Ticket, VerifiedList},
    known::{AccountRef, Known},
    register::too_far_ahead,
    toil::Toil,
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
        replace: ReplaceList,
        list: Option<VerifiedList>,
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
        let Some(list) = list else {
            return self.verify_list(ticket, replace.list.to_vec(), ClientFrame::ReplaceList(replace), 0);
        };
        let list = valid(list)?;
        check_successor(&known, &list, now_ms)?;
        if known.hash != replace.expected {
            return Err((ErrorCode::CONFLICT, "the server has another device list; merge with it".into()));
        }
        self.change_list(now_ms, ticket, known, list, None);
        Ok(())
    }

    /// Has a request's list verified, ten signatures at most, by those who do nothing else; then the request starts again.
    /// Its connection's line waits meanwhile, so there is one at a time.
    pub(super) fn verify_list(
        &mut self,
        ticket: Ticket,
        list: Vec<u8>,
        frame: ClientFrame,
        attempts: u8,
    ) -> Result<(), Refused> {
        if list.len() > MAX_DEVICE_LIST {
            return Err((ErrorCode::BAD_KEYS, "the device list is too long".into()));
        }
        self.toil(
            Toil::List { ticket, requester: self.requester(ticket.connection) },
            Job::Verify(Verification::List(list)),
        )?;
        self.block(ticket.connection);
        if let Some(connection) = self.connections.get_mut(&ticket.connection) {
            connection.verifying = Some((frame, attempts));
        }
        Ok(())
    }

    pub(super) fn list_verified(&mut self, now_ms: u64, ticket: Ticket, list: VerifiedList) {
        let connection = self.connections.get_mut(&ticket.connection);
        // Who is gone has taken it along.
        let Some((frame, attempts)) = connection.and_then(|state| state.verifying.take()) else { return };
        self.start_again(ticket, frame, Some(list), attempts);
        self.unblock(now_ms, ticket.connection);
    }

    /// Takes a list that follows the known one, which came by itself or with a Submit.
    pub(super) fn change_list(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        known: Arc<Known>,
        list: Box<SignedDeviceList>,
        submit: Option<Box<(Submit, u8)>>,
    ) {
        let what = What::List { list, follows: known.hash, submit };
        self.change(now_ms, known, Change::new(Editor::Client(ticket), what));
    }

    pub(super) fn list_replaced(
        &mut self,
        now_ms: u64,
        by: Editor,
        old: &Known,
        list: &SignedDeviceList,
        submit: Option<Box<(Submit, u8)>>,
    ) {
        let Editor::Client(ticket) = by else { return };
        let action = format!("device list replaced, {} devices", list.list().devices.len());
        // Who removes itself is answered before its connection ends.
        self.list_answered(ticket, submit, Ok(action));
        self.approve_waiting(old, list);
        self.close_removed(old, list);
        self.tell_list(ticket, list);
        self.unblock(now_ms, ticket.connection);
    }

    /// Nothing was replaced: it was there already, or must not be.
    pub(super) fn list_not_replaced(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        submit: Option<Box<(Submit, u8)>>,
        result: Result<(), Refused>,
    ) {
        let result = result.map(|()| "the same device list again".to_owned());
        self.list_answered(ticket, submit, result);
        self.unblock(now_ms, ticket.connection);
    }

    fn list_answered(
        &mut self,
        ticket: Ticket,
        submit: Option<Box<(Submit, u8)>>,
        result: Result<String, Refused>,
    ) {
        match (submit.map(|submit| *submit), result) {
            (None, Ok(action)) => self.answer(ticket, &ServerFrame::Done, action),
            // The Submit starts again and finds what is there now, be it its own list or a newer one.
            (Some((submit, attempts)), Ok(_) | Err((ErrorCode::CONFLICT, _)))
                if usize::from(attempts) < MAX_LISTS + usize::from(ATTEMPTS) =>
            {
                self.start_again(ticket, ClientFrame::Submit(submit), None, attempts + 1);
            }
            (Some(_), Ok(_)) => {
                let message = "the device lists change all the time; try again";
                self.refuse(ticket, (ErrorCode::BUSY, message.into()));
            }
            (_, Err(refused)) => self.refuse(ticket, refused),
        }
    }

    /// Puts a request back to the head of its connection's line.
    fn start_again(&mut self, ticket: Ticket, frame: ClientFrame, list: Option<VerifiedList>, attempts: u8) {
        if let Some(connection) = self.connections.get_mut(&ticket.connection) {
            connection.queue.push_front(Queued {
                ticket,
                frame,
                found: Vec::new(),
                fetching: Vec::new(),
                counted: true,
                looked: false,
                list,
                attempts,
            });
        }
    }

    /// Shows a new list to the account's connected devices, but to the one that made it. Who is slow to read finds it when it
    /// signs in, writes, or asks.
    fn tell_list(&mut self, by: Ticket, list: &SignedDeviceList) {
        let devices: Vec<DeviceId> =
            list.list().devices.iter().map(|signed| signed.certificate().device).collect();
        let changed = ServerFrame::ListChanged(ListChanged { list: list.as_bytes().to_vec().into() });
        for connection in self.connections_of(&devices) {
            if connection != by.connection {
                self.hint(connection, PUSH, &changed);
            }
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

/// The list, if its signatures hold.
pub(super) fn valid(list: VerifiedList) -> Result<Box<SignedDeviceList>, Refused> {
    list.map_err(|problem| (ErrorCode::BAD_KEYS, format!("the device list: {problem}").into()))
}

/// Whether a list may take the place of the known one.
pub(super) fn check_successor(known: &Known, list: &SignedDeviceList, now_ms: u64) -> Result<(), Refused> {
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
    Ok(())
}

/// The record with a list that was found to follow one; `None` if it has the list already.
pub(super) fn followed_by(
    known: &Known,
    list: &SignedDeviceList,
    follows: &ListHash,
) -> Result<Option<AccountRecord>, Refused> {
    if known.list.as_bytes() == list.as_bytes() {
        return Ok(None);
    }
    // Where only something else in the record changed, it follows as it did.
    if known.hash != *follows {
        return Err((ErrorCode::CONFLICT, "the device list changed meanwhile; merge with it".into()));
    }
    Ok(Some(with_list(&known.record, list)))
}

fn with_list(record: &AccountRecord, list: &SignedDeviceList) -> AccountRecord {
    AccountRecord {
        list: list.as_bytes().to_vec(),
        devices: list.list().devices.iter().map(|signed| signed.certificate().device).collect(),
        ..record.clone()
    }
}
