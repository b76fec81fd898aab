//! A command's way to the client: through the socket of whoever owns the profile, else by owning it for a moment.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use sotto_client::api::{ClientError, Command, Connection, ErrorKind, Event, Reply};
use sotto_client::driver::{Client, ClientOptions, Events, Notice, Profile, State};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::alarm;
use crate::command::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::secret::Ask;

/// A client to ask and to listen to.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    options: ClientOptions,
    events: Events,
}

/// To one of many questions.
enum Answer<F> {
    Waiting(Pin<Box<F>>),
    Here(Box<Result<Reply, ClientError>>),
}

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Something happened.
    Event(Event),
    /// Some events were dropped; what matters is read again from the store.
    Lagged,
}

impl From<Notice> for Heard {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Event(event) => Self::Event(event),
            Notice::Lagged => Self::Lagged,
        }
    }
}

impl Session {
    /// Opens the profile; the client connects by itself in the background.
    pub(crate) async fn open(context: &mut Context) -> Result<Self, Failure> {
        Self::with(context, ClientOptions::default()).await
    }

    /// After a failure: if it is that the profile's owner ended, through whose socket this went, this command takes its
    /// place, or that of the next owner. Nothing is lost by that but answers under way. Any other failure stands.
    pub(crate) async fn reopen(&mut self, failure: Failure, context: &mut Context) -> Result<(), Failure> {
        let owner_ended = !self.client.owns_profile() && failure.code == ErrorKind::ProfileInUse.exit_code();
        if !owner_ended {
            return Err(failure);
        }
        // Without a password this cannot go on; why it was needed is what the user must hear.
        *self = Self::with(context, self.options).await.map_err(|_| failure)?;
        Ok(())
    }

    async fn with(context: &mut Context, options: ClientOptions) -> Result<Self, Failure> {
        let dir = context.place.dir();
        let client = if let Some(client) = Client::attach(&dir, options).await? {
            client
        } else {
            must_exist(&dir)?;
            let password = context.secrets.password(Ask::Once).await?;
            Client::open_or_attach(&dir, options, || Ok(password)).await?
        };
        Ok(Self::of(client, options))
    }

    /// A client that is open already, and how it was opened.
    pub(crate) fn of(client: Client, options: ClientOptions) -> Self {
        let events = client.events();
        Self { client, options, events }
    }

    /// Opens the profile with a password that the command needs for itself too, and waits for the connection.
    pub(crate) async fn connected_by(
        context: &Context,
        password: &Zeroizing<String>,
    ) -> Result<Self, Failure> {
        let dir = context.place.dir();
        must_exist(&dir)?;
        let options = ClientOptions::default();
        let session =
            Self::of(Client::open_or_attach(&dir, options, || Ok(password.clone())).await?, options);
        match session.client.wait_online().await {
            Ok(()) => Ok(session),
            Err(error) => {
                session.close().await;
                Err(error.into())
            }
        }
    }

    /// Opens the profile for a command that needs no connection, and makes none.
    pub(crate) async fn local(context: &mut Context) -> Result<Self, Failure> {
        Self::with(context, ClientOptions { offline: true, ..ClientOptions::default() }).await
    }

    /// Opens the profile and waits for the connection; fails at the first attempt that does.
    pub(crate) async fn connected(context: &mut Context) -> Result<Self, Failure> {
        let session = Self::open(context).await?;
        match session.client.wait_online().await {
            Ok(()) => Ok(session),
            Err(error) => {
                session.close().await;
                Err(error.into())
            }
        }
    }

    /// Waits until the first attempt to connect has ended, well or not.
    pub(crate) async fn settled(&self) -> Result<(), ClientError> {
        self.client.wait_online().await
    }

    /// Waits until everything that waited in the mailbox is here; fails at the first attempt to connect that does.
    pub(crate) async fn drained(&self) -> Result<(), Failure> {
        Ok(self.client.wait_drained().await?)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, Failure> {
        Ok(self.client.command(command).await?)
    }

    /// Asks many things, in this order, without waiting in between: the store commits them together.
    pub(crate) async fn ask_all(
        &self,
        commands: impl IntoIterator<Item = Command>,
    ) -> Vec<Result<Reply, Failure>> {
        let mut waiting: Vec<_> = commands
            .into_iter()
            .map(|command| Answer::Waiting(Box::pin(self.client.command(command))))
            .collect();
        poll_fn(|context| {
            let mut all = Poll::Ready(());
            // The first round hands them over, in their order.
            for answer in &mut waiting {
                if let Answer::Waiting(future) = answer {
                    match future.as_mut().poll(context) {
                        Poll::Ready(reply) => *answer = Answer::Here(Box::new(reply)),
                        Poll::Pending => all = Poll::Pending,
                    }
                }
            }
            all
        })
        .await;
        let here = |answer| match answer {
            Answer::Here(reply) => Some((*reply).map_err(Failure::from)),
            Answer::Waiting(_) => None,
        };
        waiting.into_iter().filter_map(here).collect()
    }

    /// Both sides of it, for a face that asks while it listens.
    pub(crate) fn parts(&mut self) -> (&Client, &mut Events) {
        (&self.client, &mut self.events)
    }

    /// How things stand now.
    pub(crate) fn state(&self) -> State {
        self.client.state()
    }

    /// What happens next; an error when the client has ended, or the time is up.
    pub(crate) async fn heard(&mut self, until: Option<Instant>) -> Result<Heard, Failure> {
        match within(until, self.events.next()).await? {
            Some(notice) => Ok(notice.into()),
            None => Err(self.client.ended().await.into()),
        }
    }

    /// What has happened already, without waiting.
    pub(crate) fn heard_already(&mut self) -> Option<Heard> {
        self.events.next_already().map(Heard::from)
    }

    /// As [`Self::close`], and says what the user must know and the command itself did not wait for.
    pub(crate) async fn finish(self, out: &mut Output) {
        let Self { client, mut events, .. } = self;
        client.close().await;
        while let Some(notice) = events.next_already() {
            if let Notice::Event(event) = notice
                && let Some(words) = alarm::words(&event)
            {
                out.warning(&words);
            }
        }
    }

    /// Ends the client if it is this command's own, and leaves it running if not.
    pub(crate) async fn close(self) {
        self.client.close().await;
    }
}

/// A profile must have been made before a password for it is asked.
pub(crate) fn must_exist(dir: &Path) -> Result<(), Failure> {
    if Profile::exists(dir) {
        return Ok(());
    }
    Err(Failure::new(ErrorKind::LoginNeeded, format!("there is no account in {}", dir.display()))
        .hint("sotto register SERVER USER, or sotto login SERVER USER"))
}

/// The end of a `--timeout`.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// `--timeout` has passed.
pub(crate) fn timed_out() -> Failure {
    Failure::new(ErrorKind::Timeout, "the time is up")
}

/// Fails once the time is up.
pub(crate) fn in_time(until: Option<Instant>) -> Result<(), Failure> {
    if until.is_some_and(|until| Instant::now() >= until) { Err(timed_out()) } else { Ok(()) }
}

/// Waits until the time is up at most. What is always ready does not put off that end.
pub(crate) async fn within<T>(until: Option<Instant>, future: impl Future<Output = T>) -> Result<T, Failure> {
    in_time(until)?;
    match until {
        None => Ok(future.await),
        Some(until) => tokio::time::timeout_at(until, future).await.map_err(|_| timed_out()),
    }
}

/// Why there is no connection, if an attempt has failed.
pub(crate) fn offline(state: &State) -> Option<&ClientError> {
    match &state.connection {
        Connection::Offline { error, .. } => Some(error),
        Connection::Connecting | Connection::Online => None,
    }
}

/// The client answered something else than was asked.
pub(crate) fn unexpected() -> Failure {
    Failure::new(ErrorKind::Bug, "the client gave an answer that does not fit")
        .hint("is another version of sotto running on this profile? end it and run the command again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn time_is_up_for_what_never_happens_and_for_what_always_does() {
        let now = Instant::now();
        let soon = Some(now + Duration::from_millis(1));
        assert_eq!(within(soon, pending::<()>()).await, Err(timed_out()));
        assert_eq!(within(Some(now), ready(())).await, Err(timed_out()));
        let late = Some(now + Duration::from_secs(60));
        assert_eq!((within(late, ready(1)).await, within(None, ready(2)).await), (Ok(1), Ok(2)));
    }
}
