//! The loop between the core, the connection and the faces.
//!
//! All inputs that are there become one batch; while the engine commits it, the next one gathers. A batch's outputs
//! are performed before the next batch begins, so what the core sends can never reach another connection than the one
//! it was meant for: a new one is made only after the core has been told that the old one is gone.

mod dialing;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use sotto_proto::{Address, frame::RawFrame};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    clock::{SleepWatch, now_ms},
    connection::{Connection, End},
    engine::{Committed, Done, Engine},
    events::{Notice, State},
    link::Link,
    password::{Change, Keyed, Keyring, has_password},
    profile::Profile,
    request::{Answer, Request},
};
use crate::{
    api::{AccountCommand, ClientError, Command, Connection as Standing, ErrorKind, Event, Reply},
    core::{CommandId, Input, Output, WithKey},
};

/// A command that needs the server is a reason to try again before the backoff would, but not sooner than this after the
/// last failure: a script without a server must not knock in a tight loop.
const IMPATIENCE: Duration = Duration::from_secs(1);
/// Inputs in one transaction: one sync for many, and still a short time between two answers.
pub(super) const BATCH: usize = 64;
/// Between two looks at the clocks: how late a wake-up can be after the machine slept.
const LOOK: Duration = Duration::from_secs(15);
/// How long a client that ends goes on for what is on its way: an entry of the outbox that somebody's `recv` happened to
/// take along is settled, or waits for the next connection.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two ticks of the core, at least.
const TICK: Duration = Duration::from_millis(20);

/// Whether the core knows that the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    /// It stands in the inbox.
    Waiting,
    /// It is in the batch under way.
    UnderWay,
}

/// What wakes the loop.
enum Wake {
    Stop,
    Done(Done),
    Request(Option<Request>),
    Dialed(Result<Connection, ClientError>),
    Keyed(CommandId, Result<Keyed, ClientError>),
    Frame(Result<RawFrame, End>),
    Room,
    Time,
}

/// The channels to the faces.
pub(super) struct Faces {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) events: broadcast::Sender<Notice>,
    pub(super) state: watch::Sender<State>,
    pub(super) stop: CancellationToken,
}

/// Passwords that become keys at a time; what is more waits for its turn in its task.
const KEYED: usize = 8;

/// A command whose password has become a key, or why it has not.
type KeyedCommand = (CommandId, Result<Keyed, ClientError>);

pub(super) struct Driver {
    engine: Engine,
    server: Address,
    faces: Faces,
    link: Link,
    told: Told,
    backoff: Backoff,
    inbox: VecDeque<Input>,
    busy: bool,
    /// The core has something on its way.
    unsettled: bool,
    /// Told to end; until when it may take to settle.
    ending: Option<Instant>,
    answers: HashMap<CommandId, Answer>,
    next_command: u64,
    wake_ms: Option<u64>,
    /// No tick before this.
    ticked: Instant,
    /// When the server last did not answer.
    failed: Instant,
    publishing: Option<u32>,
    sleep: SleepWatch,
    /// How many faces have a person in front of them.
    people: watch::Receiver<usize>,
    /// What the core was last told of it.
    interactive: bool,
    keyring: Keyring,
    keyed: (mpsc::Sender<KeyedCommand>, mpsc::Receiver<KeyedCommand>),
    /// Changes of the password whose old one the server is asked about.
    proving: HashMap<CommandId, Change>,
    /// Dials and closes under way: awaited at the end, so that no task outlives the client.
    tasks: JoinSet<()>,
}

impl Driver {
    pub(super) fn new(
        engine: Engine,
        server: Address,
        faces: Faces,
        people: watch::Receiver<usize>,
        keyring: Keyring,
        offline: bool,
    ) -> Self {
        let now = Instant::now();
        let interactive = *people.borrow() > 0;
        let mut driver = Self {
            engine,
            server,
            faces,
            link: Link::Parked,
            told: Told::Yes,
            backoff: Backoff::default(),
            // The first batch lets the core do what is due at the start.
            inbox: VecDeque::from([Input::Tick]),
            busy: false,
            unsettled: false,
            ending: None,
            answers: HashMap::new(),
            next_command: 0,
            wake_ms: None,
            ticked: now,
            failed: now,
            publishing: None,
            sleep: SleepWatch::new(now_ms(), now),
            interactive,
            people,
            keyring,
            keyed: mpsc::channel(KEYED),
            proving: HashMap::new(),
            tasks: JoinSet::new(),
        };
        if offline {
            let error = ClientError::new(ErrorKind::Unreachable, "no connection was asked for");
            driver.stand(Standing::Offline { error, retry_in_ms: None });
        } else {
            driver.link = Link::Waiting(now);
        }
        driver
    }

    /// Runs until it is told to stop or the store fails. The profile is free when this returns.
    pub(super) async fn run(mut self, profile: Profile) {
        let error = match self.turn().await {
            Ok(()) => ClientError::new(ErrorKind::Interrupted, "the client was closed"),
            Err(error) => {
                tracing::error!(%error, "the client stops");
                self.publish(Event::Stopped(error.clone()));
                error
            }
        };
        self.finish(error).await;
        drop(profile);
    }

    async fn turn(&mut self) -> Result<(), ClientError> {
        loop {
            self.advance()?;
            if self.ending.is_some_and(|until| !self.settling() || Instant::now() >= until) {
                return Ok(());
            }
            match self.wake().await {
                Wake::Stop | Wake::Request(None) => self.ending = Some(Instant::now() + SETTLE),
                Wake::Done(done) => self.perform(done?),
                Wake::Request(Some(request)) => self.request(request),
                Wake::Dialed(dialed) => self.dialed(dialed),
                Wake::Keyed(id, keyed) => self.keyed(id, keyed),
                Wake::Frame(frame) => self.frames(frame),
                // The rest happens in `advance`.
                Wake::Room | Wake::Time => {}
            }
        }
    }

    /// Does what time and the state ask for, before the next wait.
    fn advance(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        if self.sleep.jumped(now_ms(), now) {
            self.slept(now);
            // The core's time to wake may be far away now.
            self.inbox.push_back(Input::Tick);
        }
        if let Link::Up(up) = &mut self.link
            && up.is_dead(now)
        {
            self.lost(End::Silent.into());
        }
        if self.wake_ms.is_some_and(|wake_ms| wake_ms <= now_ms()) && now >= self.ticked + TICK {
            self.wake_ms = None;
            self.ticked = now;
            self.inbox.push_back(Input::Tick);
        }
        if let Link::Waiting(until) = self.link
            && self.told == Told::Yes
            && now >= until
        {
            self.dial();
        }
        self.look_for_people();
        if !self.busy && !self.inbox.is_empty() {
            if self.told == Told::Waiting {
                self.told = Told::UnderWay;
            }
            self.engine.begin(self.inbox.drain(..).collect())?;
            self.busy = true;
        }
        if let Link::Up(up) = &mut self.link {
            up.feed();
        }
        Ok(())
    }

    /// Whether waiting can settle what is on its way.
    fn settling(&self) -> bool {
        self.unsettled && matches!(self.link, Link::Up(_)) && self.faces.state.borrow().online()
    }

    async fn wake(&mut self) -> Wake {
        let sleep = self.sleep_for();
        let more = self.inbox.len() < BATCH;
        let (busy, ending) = (self.busy, self.ending.is_some());
        let Self { engine, faces, link, people, keyed, .. } = self;
        let network = async {
            match link {
                Link::Dialing(dialed) => Wake::Dialed(dialed.await.unwrap_or_else(|_| {
                    Err(ClientError::new(ErrorKind::Bug, "the attempt to connect ended early"))
                })),
                Link::Up(up) => up.next(more).await.map_or(Wake::Room, Wake::Frame),
                Link::Waiting(_) | Link::Lost(_) | Link::Parked => std::future::pending().await,
            }
        };
        tokio::select! {
            () = faces.stop.cancelled(), if !ending => Wake::Stop,
            done = engine.done(), if busy => Wake::Done(done),
            request = faces.requests.recv(), if more && !ending => Wake::Request(request),
            wake = network => wake,
            // Both ends are this loop's own, or the client's, and stay open.
            Some((id, result)) = keyed.1.recv(), if more => Wake::Keyed(id, result),
            Ok(()) = people.changed() => Wake::Room,
            () = tokio::time::sleep(sleep) => Wake::Time,
        }
    }

    fn sleep_for(&self) -> Duration {
        let now = Instant::now();
        let mut sleep = self.ending.map_or(LOOK, |until| until.saturating_duration_since(now));
        if let Some(wake_ms) = self.wake_ms {
            let due = Duration::from_millis(wake_ms.saturating_sub(now_ms()));
            sleep = sleep.min(due.max((self.ticked + TICK).saturating_duration_since(now)));
        }
        match &self.link {
            Link::Waiting(until) if self.told == Told::Yes => sleep.min(until.saturating_duration_since(now)),
            Link::Up(up) => {
                up.deadline().map_or(sleep, |until| sleep.min(until.saturating_duration_since(now)))
            }
            _ => sleep,
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Command(Command::Connection, answer) => {
                let standing = self.faces.state.borrow().connection.clone();
                answer.give(Ok(Reply::Connection(standing)));
            }
            Request::Command(Command::Account(command), answer) if has_password(&command) => {
                self.hurry();
                self.password(command, answer);
            }
            Request::Command(command, answer) => {
                if needs_server(&command) {
                    self.hurry();
                }
                // Whoever asks may have come a moment ago.
                self.look_for_people();
                self.next_command += 1;
                let id = CommandId(self.next_command);
                self.answers.insert(id, answer);
                self.inbox.push_back(Input::Command(id, command));
            }
            Request::Connect(answer) => {
                let asked_for = self.faces.state.borrow().failure().is_some_and(|error| {
                    // What only a person can mend is not tried again because somebody looks.
                    matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Limit)
                });
                if asked_for && matches!(self.link, Link::Waiting(_) | Link::Parked) {
                    self.link = Link::Waiting(Instant::now());
                    self.stand(Standing::Connecting);
                }
                // The face has gone if this fails.
                let _ = answer.send(());
            }
        }
    }

    /// Somebody wants something of a server that did not answer.
    fn hurry(&mut self) {
        let unreachable =
            self.faces.state.borrow().failure().is_some_and(|error| error.kind == ErrorKind::Unreachable);
        if let Link::Waiting(until) = &mut self.link
            && unreachable
        {
            *until = (*until).min(self.failed + IMPATIENCE);
        }
    }

    /// Tells the core when the first person comes, or the last one goes.
    fn look_for_people(&mut self) {
        let interactive = *self.people.borrow_and_update() > 0;
        if interactive != self.interactive {
            self.interactive = interactive;
            self.inbox.push_back(Input::Interactive(interactive));
        }
    }

    /// A command with a password: the core gets it once the key is computed.
    fn password(&mut self, command: AccountCommand, answer: Answer) {
        if !self.faces.state.borrow().online() {
            let error = ClientError::new(ErrorKind::Unreachable, "there is no connection to the server");
            return answer.give(Err(error.hint("the client keeps trying; run the command again")));
        }
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.answers.insert(id, answer);
        self.compute(id, self.keyring.clone().work(command));
    }

    fn compute(
        &mut self,
        id: CommandId,
        work: impl Future<Output = Result<Keyed, ClientError>> + Send + 'static,
    ) {
        let done = self.keyed.0.clone();
        self.tasks.spawn(async move {
            let result = work.await;
            // The loop has ended if this fails, and answers what is open.
            let _ = done.send((id, result)).await;
        });
    }

    fn keyed(&mut self, id: CommandId, keyed: Result<Keyed, ClientError>) {
        while self.tasks.try_join_next().is_some() {}
        match keyed {
            Ok(Keyed::Ready(command)) => self.inbox.push_back(Input::WithKey(id, command)),
            Ok(Keyed::Unproven(change)) => {
                let prove = WithKey::Prove { key: change.old.clone() };
                self.proving.insert(id, change);
                self.inbox.push_back(Input::WithKey(id, prove));
            }
            Err(error) => {
                if let Some(answer) = self.answers.remove(&id) {
                    answer.give(Err(error));
                }
            }
        }
    }

    fn perform(&mut self, committed: Committed) {
        let Committed { outputs, unsettled } = committed;
        self.busy = false;
        self.unsettled = unsettled;
        if self.told == Told::UnderWay {
            self.told = Told::Yes;
        }
        for output in outputs {
            match output {
                Output::Send { request, frame } => self.send(request, &frame),
                Output::Reply(id, outcome) => {
                    let outcome = outcome.map(|reply| self.with_standing(reply));
                    self.proving.remove(&id);
                    if let Some(answer) = self.answers.remove(&id) {
                        answer.give(outcome);
                    }
                }
                Output::Event(Event::Connection(Standing::Online)) => {
                    self.backoff.online(Instant::now());
                    if let Link::Up(up) = &mut self.link {
                        up.logged_in();
                    }
                    self.stand(Standing::Online);
                }
                Output::PasswordProven(id) => {
                    if let Some(change) = self.proving.remove(&id) {
                        self.compute(id, self.keyring.clone().proven(change));
                    }
                }
                // How the connection stands otherwise is for this loop to say; wraps of the store's key are the engine's.
                Output::Event(Event::Connection(_)) | Output::PasswordSettled { .. } => {}
                Output::Event(event) => self.publish(event),
                Output::Close { error, reconnect } => self.closed(error, reconnect),
                Output::WakeAt(wake_ms) => self.wake_ms = Some(wake_ms),
            }
        }
        if self.told == Told::Yes
            && let Link::Lost(error) = &self.link
        {
            let error = error.clone();
            self.retry_later(error);
        }
    }

    /// The core does not know why there is no connection; this loop does.
    fn with_standing(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Whoami(mut whoami) => {
                whoami.connection = self.faces.state.borrow().connection.clone();
                Reply::Whoami(whoami)
            }
            reply => reply,
        }
    }

    fn stand(&self, standing: Standing) {
        let changed = self.faces.state.send_if_modified(|state| {
            let changed = state.connection != standing;
            state.connection.clone_from(&standing);
            changed
        });
        if changed {
            // Nobody listens if this fails.
            let _ = self.faces.events.send(Notice::Event(Event::Connection(standing)));
        }
    }

    fn publish(&self, event: Event) {
        if event == Event::Drained {
            self.faces.state.send_modify(|state| state.drained = true);
        }
        // Nobody listens if this fails.
        let _ = self.faces.events.send(Notice::Event(event));
    }

    /// Commits the answers that had arrived, or came until the server closed: what it stored is known to be stored, and
    /// need not be sent again by the next start.
    async fn commit_late(&mut self, late: Vec<RawFrame>) {
        let arrived = std::mem::take(&mut self.inbox).into_iter();
        let frames = arrived.filter(|input| matches!(input, Input::Frame(_)));
        let batch: Vec<Input> = frames.chain(late.into_iter().map(Input::Frame)).collect();
        if batch.is_empty() || self.engine.begin(batch).is_err() {
            return;
        }
        match self.engine.done().await {
            Ok(committed) => self.perform(committed),
            Err(error) => tracing::error!(%error, "the last answers were not kept"),
        }
    }

    /// Finishes what was begun: the batch under way, its outputs, the last frames, the tasks, the store's thread.
    async fn finish(mut self, error: ClientError) {
        if self.busy
            && let Ok(committed) = self.engine.done().await
        {
            self.perform(committed);
        }
        for (_, answer) in self.answers.drain() {
            answer.give(Err(error.clone()));
        }
        // A dial under way: nobody wants its connection any more, and a server that is not there answers it late.
        self.faces.stop.cancel();
        self.faces.requests.close();
        self.keyed.1.close();
        while let Ok(request) = self.faces.requests.try_recv() {
            if let Request::Command(_, answer) = request {
                answer.give(Err(error.clone()));
            }
        }
        let mut late: Vec<RawFrame> = Vec::new();
        if let Link::Up(up) = std::mem::replace(&mut self.link, Link::Parked) {
            late = up.close().await;
        }
        self.commit_late(late).await;
        while self.tasks.join_next().await.is_some() {}
        self.engine.stop().await;
        self.faces.state.send_modify(|state| {
            if !matches!(state.connection, Standing::Offline { .. }) {
                state.connection = Standing::Offline { error: error.clone(), retry_in_ms: None };
            }
            state.ended = Some(error);
        });
    }
}

fn needs_server(command: &Command) -> bool {
    match command {
        Command::Send { .. }
        | Command::Users
        | Command::Safety(_)
        | Command::Block { .. }
        | Command::Chat(_)
        | Command::Account(_) => true,
        Command::Whoami
        | Command::Connection
        | Command::Fate(_)
        | Command::Unprinted { .. }
        | Command::PrintedAfter { .. }
        | Command::Printed(_)
        | Command::History { .. }
        | Command::Outbox
        | Command::DropOutbox(_)
        | Command::Contacts
        | Command::Trust { .. }
        | Command::Doctor => false,
    }
}
