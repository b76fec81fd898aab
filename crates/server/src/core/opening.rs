//! Hello: agreeing on a version.

use sotto_proto::{
    VersionRange,
    frame::{ErrorCode, Hello, ServerFrame, ServerLimits, Welcome},
    limits,
};

use super::{Core, Refused, connection::Ticket};

impl Core {
    pub(super) fn hello(&mut self, now_ms: u64, ticket: Ticket, hello: &Hello) -> Result<(), Refused> {
        let Some(connection) = self.connections.get_mut(&ticket.connection) else { return Ok(()) };
        if connection.greeted {
            return Err((ErrorCode::OUT_OF_ORDER, "Hello was said already".into()));
        }
        let Some(version) = VersionRange::OURS.common(&hello.versions) else {
            let message = format!(
                "this server speaks protocol versions {}, the client {}; update the older of the two",
                VersionRange::OURS,
                hello.versions
            );
            self.refuse(ticket, (ErrorCode::VERSION, message.into()));
            self.close(ticket.connection);
            return Ok(());
        };
        connection.greeted = true;
        let welcome = Welcome {
            version,
            challenge: connection.challenge,
            now_ms,
            registration: self.config.registration,
            limits: ServerLimits {
                max_frame: u32::try_from(limits::MAX_FRAME).unwrap_or(u32::MAX),
                max_pipelined: u16::try_from(limits::MAX_PIPELINED).unwrap_or(u16::MAX),
                retention_ms: self.config.retention_ms,
            },
        };
        self.answer(ticket, &ServerFrame::Welcome(welcome), "welcomed");
        Ok(())
    }
}
