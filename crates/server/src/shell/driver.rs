//! The task that owns the core: feeds it what happened, does what it says.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sotto_store::{Store, StoreError};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::{calls, peer::PeerHandle, workers::Workers};
use crate::{
    core::{ConnectionId, Core, CoreConfig, Event, Input, Level, Order, Output, Question, Roster},
    tap::Tap,
};

/// Inputs taken at once.
const BATCH: usize = 256;
/// How long what is under way may take when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// What comes to the driver.
#[derive(Debug)]
pub(crate) enum Message {
    /// A connection, and how to send to it.
    Open(Input, PeerHandle),
    /// What a connection's task saw.
    Input(Input),
    /// The operator asks who is there.
    Roster(oneshot::Sender<Roster>),
    /// The operator wants something done to an account.
    Order(Order, oneshot::Sender<Result<(), String>>),
    /// New limits.
    Reload(CoreConfig),
}

/// How the driver ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As asked; everything under way was finished.
    Stopped,
    /// The store failed: what it says.
    Failed(String),
}

/// The task's state.
#[derive(Debug)]
pub(crate) struct Driver {
    core: Core,
    tap: Box<dyn Tap>,
    messages: mpsc::Receiver<Message>,
    /// The server is to stop. Not one of the messages: their line may be long.
    stop: CancellationToken,
    /// Answers of the store and the workers; as many as the core asked for.
    done: mpsc::UnboundedReceiver<Input>,
    calls: calls::Caller,
    workers: Workers,
    peers: HashMap<ConnectionId, PeerHandle>,
    questions: HashMap<Question, oneshot::Sender<Roster>>,
    orders: HashMap<Question, oneshot::Sender<Result<(), String>>>,
    next_question: u64,
    stop_by: Option<Instant>,
    failed: Option<String>,
    /// The store says by itself that it failed, also if nobody waits for an answer.
    failures: mpsc::UnboundedReceiver<StoreError>,
}

/// The wall clock, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        tap: Box<dyn Tap>,
        store: Arc<dyn Store>,
        failures: mpsc::UnboundedReceiver<StoreError>,
        hashing_memory: usize,
        (messages, stop): (mpsc::Receiver<Message>, CancellationToken),
    ) -> Self {
        let (finished, done) = mpsc::unbounded_channel();
        Self {
            core,
            tap,
            messages,
            stop,
            done,
            calls: calls::Caller::start(store, finished.clone()),
            workers: Workers::new(hashing_memory, finished),
            peers: HashMap::new(),
            questions: HashMap::new(),
            orders: HashMap::new(),
            next_question: 0,
            stop_by: None,
            failed: None,
            failures,
        }
    }

    /// Runs until the server has stopped, or the store failed.
    pub(crate) async fn run(mut self) -> Ended {
        let mut messages = Vec::with_capacity(BATCH);
        let mut done = Vec::with_capacity(BATCH);
        loop {
            if let Some(what) = self.failed.take() {
                return Ended::Failed(what);
            }
            if self.stop_by.is_some_and(|by| self.core.idle() || by <= Instant::now()) {
                self.say_goodbye();
                self.calls.finish().await;
                return Ended::Stopped;
            }
            let until = self.sleep_until();
            tokio::select! {
                _ = self.done.recv_many(&mut done, BATCH) => {}
                _ = self.messages.recv_many(&mut messages, BATCH) => {}
                Some(failure) = self.failures.recv() => {
                    self.failed.get_or_insert(failure.to_string());
                }
                () = tokio::time::sleep_until(until) => self.input(Input::Tick),
                () = self.stop.cancelled(), if self.stop_by.is_none() => {
                    self.stop_by = Some(Instant::now() + STOP_TIMEOUT);
                    self.input(Input::Stop);
                }
            }
            for input in done.drain(..) {
                self.input(input);
            }
            for message in messages.drain(..) {
                self.message(message);
            }
            self.perform();
        }
    }

    fn say_goodbye(&mut self) {
        let mut peers: Vec<_> = self.peers.drain().collect();
        peers.sort_unstable_by_key(|(connection, _)| *connection);
        for (connection, peer) in peers {
            peer.close();
            self.input(Input::Disconnected { connection });
        }
        self.perform();
    }

    fn sleep_until(&self) -> Instant {
        let sleep = Duration::from_millis(self.core.wake_at_ms().saturating_sub(now_ms()));
        let until = Instant::now() + sleep.min(LONGEST_SLEEP);
        self.stop_by.map_or(until, |by| by.min(until))
    }

    fn input(&mut self, input: Input) {
        self.core.handle(now_ms(), input);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Open(input, handle) => {
                if let Input::Connected { connection, .. } = &input {
                    self.peers.insert(*connection, handle);
                }
                self.input(input);
            }
            Message::Input(mut input) => {
                if let Input::Frame { connection, request, frame, .. } = &mut input {
                    self.tap.incoming(*connection, *request, frame);
                }
                let gone = match &input {
                    Input::Disconnected { connection } => Some(*connection),
                    _ => None,
                };
                self.input(input);
                if let Some(connection) = gone {
                    // What was said before still goes to it; then its queue ends here.
                    self.perform();
                    self.peers.remove(&connection);
                }
            }
            Message::Roster(answer) => {
                self.next_question += 1;
                let question = Question(self.next_question);
                self.questions.insert(question, answer);
                self.input(Input::Operator { question });
            }
            Message::Order(order, answer) => {
                self.next_question += 1;
                let question = Question(self.next_question);
                self.orders.insert(question, answer);
                self.input(Input::Order { question, order });
            }
            Message::Reload(config) => self.input(Input::Reload(config)),
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.core.next_output() {
            match output {
                Output::Send { connection, bytes, class } => {
                    if let Some(peer) = self.peers.get(&connection) {
                        peer.send(self.tap.outgoing(connection, bytes), class);
                    }
                }
                Output::SignedIn { connection, frame_limit } => {
                    if let Some(peer) = self.peers.get(&connection) {
                        peer.signed_in(frame_limit);
                    }
                }
                Output::Close { connection } => {
                    if let Some(peer) = self.peers.remove(&connection) {
                        peer.close();
                    }
                }
                Output::Store { operation, call } => self.calls.call(operation, call),
                Output::Work { operation, job } => self.workers.start(operation, job),
                Output::Log(event) => log(&event),
                Output::Operator { question, roster } => {
                    if let Some(answer) = self.questions.remove(&question) {
                        drop(answer.send(roster));
                    }
                }
                Output::Ordered { question, result } => {
                    if let Some(answer) = self.orders.remove(&question) {
                        drop(answer.send(result));
                    }
                }
                Output::Failed(what) => {
                    self.failed.get_or_insert(what);
                }
            }
        }
    }
}

fn log(event: &Event) {
    match event.level() {
        Level::Error => error!("{event}"),
        Level::Info => info!("{event}"),
        Level::Debug => debug!("{event}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sotto_proto::{KeyChain, keys::ED25519_SPKI_PREFIX};
    use sotto_store::{MemoryStore, StoreConfig};

    use super::*;
    use crate::tap::Untapped;

    #[tokio::test]
    async fn a_store_that_fails_while_nobody_waits_for_it_ends_the_server() {
        let first = [&ED25519_SPKI_PREFIX[..], &[9; 32]].concat();
        let chain = KeyChain { first, successors: Vec::new() };
        let core = Core::new(CoreConfig::default(), &chain, "hash of nobody".to_owned()).unwrap();
        let store = Arc::new(MemoryStore::new(StoreConfig::default()));
        // Held: that they are gone is no reason to end.
        let (_sender, messages) = mpsc::channel(1);
        let (failing, failures) = mpsc::unbounded_channel();
        let line = (messages, CancellationToken::new());
        let driver = tokio::spawn(Driver::new(core, Box::new(Untapped), store, failures, 0, line).run());
        let failure = StoreError::Failed("I/O error".to_owned());
        failing.send(failure.clone()).unwrap();
        assert_eq!(driver.await.unwrap(), Ended::Failed(failure.to_string()));
    }
}
