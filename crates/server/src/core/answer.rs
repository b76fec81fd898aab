//! Answering and pushing.

use std::borrow::Cow;

use sotto_proto::frame::{ErrorCode, ErrorReply, ServerFrame};

use super::{
    ConnectionId, Core, Event, Output, Refused, SendClass, connection::Ticket, reader::UNWRITTEN_LIMIT,
};

/// Bytes of an answer from which on it is counted. Of shorter ones a connection cannot have more than a few hundred KiB
/// waiting, since it may have only so many requests without an answer.
const LONG_ANSWER: usize = 4 * 1024;

impl Core {
    pub(super) fn send(
        &mut self,
        connection: ConnectionId,
        request: u32,
        frame: &ServerFrame,
        mut class: SendClass,
    ) {
        match frame.encode(request) {
            Ok(bytes) => {
                if let SendClass::Answer { size } = class
                    && bytes.len() >= LONG_ANSWER
                {
                    class = SendClass::LongAnswer { size, length: bytes.len() };
                    self.answered_at_length(connection, bytes.len());
                }
                if let Some(state) = self.connections.get_mut(&connection) {
                    match class {
                        SendClass::Push => state.unwritten += bytes.len(),
                        SendClass::LongAnswer { length, .. } => state.unread += length,
                        SendClass::Answer { .. } | SendClass::Notice => {}
                    }
                }
                self.outputs.push_back(Output::Send { connection, bytes, class });
            }
            Err(error) => {
                // Every answer is bounded below the largest frame; a client that waits for ever would be worse.
                self.log(Event::Trouble(format!("a {} frame could not be encoded: {error}", frame.name())));
                self.close(connection);
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        ticket: Ticket,
        frame: &ServerFrame,
        action: impl Into<Cow<'static, str>>,
    ) {
        self.answer_logged(ticket, frame, action.into(), matches!(frame, ServerFrame::Pong));
    }

    pub(super) fn answer_routine(&mut self, ticket: Ticket, frame: &ServerFrame) {
        self.answer_logged(ticket, frame, Cow::Borrowed("done"), true);
    }

    pub(super) fn answer_logged(
        &mut self,
        ticket: Ticket,
        frame: &ServerFrame,
        action: Cow<'static, str>,
        routine: bool,
    ) {
        let Some(connection) = self.connections.get_mut(&ticket.connection) else { return };
        connection.unanswered = connection.unanswered.saturating_sub(1);
        let name = connection.session.as_ref().map(|session| session.name.clone());
        let peer = connection.peer;
        self.send(ticket.connection, ticket.request, frame, SendClass::Answer { size: ticket.size });
        self.log(Event::Request { peer, name, request: ticket.kind, size: ticket.size, action, routine });
        self.left_alone(ticket.connection);
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, (code, message): Refused) {
        self.refuse_until(ticket, (code, message), None);
    }

    pub(super) fn refuse_until(
        &mut self,
        ticket: Ticket,
        (code, message): Refused,
        retry_after_ms: Option<u64>,
    ) {
        let action = format!("refused, {message}");
        let retry_after_ms = retry_after_ms.or((code == ErrorCode::BUSY).then_some(1_000));
        let reply = ErrorReply { code, message: message.into_owned(), retry_after_ms };
        self.answer(ticket, &ServerFrame::Error(reply), action);
    }

    /// Sends a push that the peer can do without, unless it is slow to read.
    pub(super) fn hint(&mut self, connection: ConnectionId, request: u32, frame: &ServerFrame) {
        let slow =
            self.connections.get(&connection).is_none_or(|connection| connection.unwritten > UNWRITTEN_LIMIT);
        if !slow {
            self.send(connection, request, frame, SendClass::Push);
        }
    }
}
