//! The reader of a mailbox: delivering in order, from memory while it keeps up, from the store where it does not.

use std::collections::BTreeMap;

use sotto_proto::{
    DeviceId, FateTag, QueueNumber,
    frame::{
        Ack, Attach, Deliver, Drained, ErrorCode, FateState, Fates, MailboxState, PUSH, QueryFates,
        QuerySubmission, ServerFrame, SubmissionState, Submitted, Taken,
    },
    limits::MAX_FATES_PER_QUERY,
};
use sotto_store::{AckOutcome, Delivery, StoreError, SubmissionKey};

use super::{ConnectionId, Core, Event, Refused, SendClass, StoreCall, connection::Ticket, step::Step};

/// Bytes read from a mailbox at a time.
const READ_BATCH: usize = 128 * 1024;
/// Bytes of pushes that may wait for one peer; beyond this nothing is pushed, and the mailbox keeps it.
pub(super) const UNWRITTEN_LIMIT: usize = 256 * 1024;
/// Fate tags in one push.
const TAKEN_AT_ONCE: usize = 10_000;

/// Where a reader is.
#[derive(Debug)]
pub(super) struct Reader {
    /// The highest number sent on this connection, or the cursor it came with.
    sent: QueueNumber,
    /// Whether a read of the mailbox is under way.
    fetching: bool,
    /// Whether the mailbox may hold more than was sent, as far as the read under way does not bring it.
    behind: bool,
    /// Whether it was told that it has caught up.
    drained: bool,
}

impl Core {
    pub(super) fn attach(&mut self, ticket: Ticket, attach: &Attach) -> Result<(), Refused> {
        let mailbox = self.session(ticket.connection)?.mailbox;
        let device = self.session(ticket.connection)?.device;
        if attach.incarnation != mailbox.incarnation {
            return Err(incarnation());
        }
        let Some(connection) = self.connections.get_mut(&ticket.connection) else { return Ok(()) };
        if connection.reader.is_some() {
            return Err((ErrorCode::OUT_OF_ORDER, "delivery was started already".into()));
        }
        if attach.after > mailbox.acked {
            // The reader has more on its disk than it could tell before its connection broke.
            self.block(ticket.connection);
            let step = Step::AttachAck { ticket, after: attach.after };
            self.call(step, StoreCall::Ack(device, attach.after));
        } else {
            self.attached(ticket, attach.after);
        }
        Ok(())
    }

    pub(super) fn attached(&mut self, ticket: Ticket, after: QueueNumber) {
        let Some(connection) = self.connections.get_mut(&ticket.connection) else { return };
        connection.reader = Some(Reader { sent: after, fetching: false, behind: true, drained: false });
        self.answer(ticket, &ServerFrame::Done, "delivery started");
        self.feed(ticket.connection);
    }

    /// Reads on in a mailbox whose reader is behind and takes what it is sent.
    pub(super) fn feed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (Some(reader), Some(session)) = (&mut connection.reader, &connection.session) else { return };
        if reader.fetching || !reader.behind || connection.unwritten >= READ_BATCH {
            return;
        }
        if !self.sweep.may_read(id) {
            return;
        }
        reader.fetching = true;
        reader.behind = false;
        if session.sweep == self.sweep.epoch() {
            self.read_batch(id);
        } else {
            let call = StoreCall::Mailbox(session.device);
            self.call(Step::ReaderMailbox { connection: id }, call);
        }
    }

    fn read_batch(&mut self, id: ConnectionId) {
        let call = self.connections.get(&id).and_then(|connection| {
            let device = connection.session.as_ref()?.device;
            let after = connection.reader.as_ref()?.sent;
            Some(StoreCall::Read { device, after, max_bytes: READ_BATCH })
        });
        match call {
            Some(call) => {
                self.call(Step::ReaderBatch { connection: id }, call);
            }
            None => self.sweep.read_done(),
        }
    }

    pub(super) fn reader_mailbox(&mut self, now_ms: u64, id: ConnectionId, mailbox: Option<MailboxState>) {
        let epoch = self.sweep.epoch();
        let session = self.connections.get_mut(&id).and_then(|connection| connection.session.as_mut());
        match (session, mailbox) {
            (Some(session), Some(mailbox)) => {
                session.mailbox.lost_through = mailbox.lost_through;
                session.sweep = epoch;
                self.read_batch(id);
            }
            (Some(_), None) => {
                // The device was removed; whoever removed it tells it.
                self.sweep.read_done();
                self.close(id);
            }
            (None, _) => self.sweep.read_done(),
        }
        self.sweep_due(now_ms);
    }

    pub(super) fn reader_batch(&mut self, now_ms: u64, id: ConnectionId, batch: Vec<Delivery>) {
        self.sweep.read_done();
        self.take_batch(id, batch);
        self.feed(id);
        self.sweep_due(now_ms);
    }

    fn take_batch(&mut self, id: ConnectionId, batch: Vec<Delivery>) {
        let empty = batch.is_empty();
        for delivery in batch {
            self.deliver(id, delivery);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (Some(reader), Some(session)) = (&mut connection.reader, &connection.session) else { return };
        reader.fetching = false;
        // Only an empty answer says that there is no more; the store may end a batch where it likes.
        reader.behind |= !empty;
        if !reader.behind && !reader.drained {
            reader.drained = true;
            let drained = Drained { through: reader.sent, lost_through: session.mailbox.lost_through };
            self.send(id, PUSH, &ServerFrame::Drained(drained), SendClass::Push);
        }
    }

    fn deliver(&mut self, id: ConnectionId, delivery: Delivery) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (Some(reader), Some(session)) = (&mut connection.reader, &connection.session) else { return };
        if delivery.number <= reader.sent {
            return;
        }
        reader.sent = delivery.number;
        let frame = ServerFrame::Deliver(Deliver {
            number: delivery.number,
            lost_through: session.mailbox.lost_through,
            stored_ms: delivery.stored_ms,
            envelope: delivery.envelope.into(),
        });
        self.send(id, PUSH, &frame, SendClass::Push);
    }

    /// Whether a device's reader has been sent everything, so that the next envelope can go to it from memory.
    pub(super) fn caught_up(&self, device: &DeviceId) -> Option<ConnectionId> {
        let id = *self.devices.get(device)?;
        let connection = self.connections.get(&id)?;
        let reader = connection.reader.as_ref()?;
        let room = connection.unwritten < UNWRITTEN_LIMIT;
        (!reader.fetching && !reader.behind && room).then_some(id)
    }

    /// An envelope has come to stable storage, in the order of the store's answers.
    pub(super) fn arrived(
        &mut self,
        device: &DeviceId,
        number: QueueNumber,
        stored_ms: u64,
        copy: Option<Vec<u8>>,
    ) {
        if let (Some(id), Some(envelope)) = (self.caught_up(device), copy) {
            return self.deliver(id, Delivery { number, stored_ms, envelope });
        }
        let Some(id) = self.devices.get(device).copied() else { return };
        let Some(reader) = self.connections.get_mut(&id).and_then(|state| state.reader.as_mut()) else {
            return;
        };
        if number > reader.sent {
            reader.behind = true;
            self.feed(id);
        }
    }

    /// Passes on what is never stored: it has no number. Whether anybody took it.
    pub(super) fn pass(&mut self, now_ms: u64, device: &DeviceId, envelope: Vec<u8>) -> bool {
        let Some(id) = self.caught_up(device) else { return false };
        let Some(session) = self.connections.get(&id).and_then(|state| state.session.as_ref()) else {
            return false;
        };
        let frame = ServerFrame::Deliver(Deliver {
            number: QueueNumber(0),
            lost_through: session.mailbox.lost_through,
            stored_ms: now_ms,
            envelope: envelope.into(),
        });
        self.send(id, PUSH, &frame, SendClass::Push);
        true
    }

    pub(super) fn written(&mut self, now_ms: u64, id: ConnectionId, pushes: usize, answers: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.unwritten = connection.unwritten.saturating_sub(pushes);
        connection.unread = connection.unread.saturating_sub(answers);
        self.pay_reset(id);
        self.feed(id);
        self.advance(now_ms, id);
    }

    pub(super) fn reader_failed(&mut self, now_ms: u64, id: ConnectionId, error: &StoreError) {
        self.sweep.read_done();
        if let Some(peer) = self.peer(id) {
            self.log(Event::Refused {
                peer,
                reason: format!("its mailbox could not be read: {error}").into(),
            });
            self.close(id);
        }
        self.sweep_due(now_ms);
    }

    pub(super) fn ack(&mut self, ticket: Ticket, ack: &Ack) -> Result<(), Refused> {
        let session = self.session(ticket.connection)?;
        if ack.incarnation != session.mailbox.incarnation {
            return Err(incarnation());
        }
        let device = session.device;
        let reader = self.connections.get(&ticket.connection).and_then(|state| state.reader.as_ref());
        let sent = reader.ok_or((ErrorCode::OUT_OF_ORDER, "Attach comes first".into()))?.sent;
        if ack.through > sent {
            return Err((ErrorCode::OUT_OF_ORDER, "an ack beyond what was delivered".into()));
        }
        self.call(Step::Ack { ticket }, StoreCall::Ack(device, ack.through));
        Ok(())
    }

    /// Whether the reader may go on. It may not if it has read further than this store ever was: then its mailbox began
    /// anew, and it signs in again and reads from the start.
    pub(super) fn acked(&mut self, ticket: Ticket, outcome: AckOutcome) -> bool {
        match outcome {
            AckOutcome::Removed(tags) => {
                self.taken(&tags);
                true
            }
            AckOutcome::BegunAnew => {
                let reader = self.session(ticket.connection).map(|session| session.name.to_string());
                let what = "a device's number is above all that this store ever gave: the data folder is an old \
                            copy, or the device lies; its mailbox begins anew";
                self.log(Event::Trouble(format!("[ {} ] {what}", reader.unwrap_or_default())));
                self.refuse(ticket, incarnation());
                self.close(ticket.connection);
                false
            }
        }
    }

    /// Tells the connections that submitted these envelopes that they were taken.
    pub(super) fn taken(&mut self, tags: &[FateTag]) {
        let mut told: BTreeMap<ConnectionId, Vec<FateTag>> = BTreeMap::new();
        for tag in tags {
            if let Some(connection) = self.waiting.remove(tag) {
                told.entry(connection).or_default().push(*tag);
            }
        }
        for (connection, tags) in told {
            for tags in tags.chunks(TAKEN_AT_ONCE) {
                self.hint(connection, PUSH, &ServerFrame::Taken(Taken { tags: tags.to_vec() }));
            }
        }
    }

    pub(super) fn query_fates(&mut self, ticket: Ticket, query: QueryFates) -> Result<(), Refused> {
        self.session(ticket.connection)?;
        if query.tags.len() > MAX_FATES_PER_QUERY {
            return Err((ErrorCode::LIMIT, format!("at most {MAX_FATES_PER_QUERY} tags at a time").into()));
        }
        // A thousand rows each: one at a time, or who asks without pause keeps the store from reading for others.
        self.block(ticket.connection);
        self.call(Step::Fates { ticket }, StoreCall::Fates(query.tags));
        Ok(())
    }

    pub(super) fn fates(&mut self, ticket: Ticket, states: Vec<FateState>) {
        let action = format!("{} fates told", states.len());
        self.answer(ticket, &ServerFrame::Fates(Fates { states }), action);
    }

    pub(super) fn query_submission(
        &mut self,
        ticket: Ticket,
        query: &QuerySubmission,
    ) -> Result<(), Refused> {
        let account = self.session(ticket.connection)?.account;
        let key = SubmissionKey::new(&account, &query.submission);
        self.call(Step::AskSubmission { ticket }, StoreCall::Submission(key));
        Ok(())
    }

    pub(super) fn submission_asked(&mut self, ticket: Ticket, submitted: Option<Submitted>) {
        let action = if submitted.is_some() { "known" } else { "not known" };
        self.answer(ticket, &ServerFrame::SubmissionState(SubmissionState { submitted }), action);
    }
}

fn incarnation() -> Refused {
    (ErrorCode::INCARNATION, "the mailbox has begun anew; sign in again and read from its start".into())
}
