//! Turns at something costly, shared fairly between addresses: a crowd from one waits behind itself.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Who waits, by address; none is empty.
    lines: HashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
    /// The addresses with a line, in the order in which they come next.
    round: VecDeque<IpAddr>,
}

impl State {
    /// Who is next: the first who still waits of the address whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(source) = self.round.pop_front() {
            let Some(line) = self.lines.get_mut(&source) else { continue };
            // Those who have gone cost their address nothing.
            let next = std::iter::from_fn(|| line.pop_front()).find(|waits| !waits.is_closed());
            if line.is_empty() {
                self.lines.remove(&source);
            } else {
                self.round.push_back(source);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

/// So many turns at a time. Handshakes that wait are bounded in number and in time, and what those that gave up leave behind
/// goes when it is their address's turn.
#[derive(Debug)]
pub(super) struct Turns(Mutex<State>);

impl Turns {
    pub(super) fn new(at_a_time: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: at_a_time, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is the turn of one of this address. `None` never comes while the turns are shared.
    pub(super) async fn take(self: &Arc<Self>, source: IpAddr) -> Option<Turn> {
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Turn(Some(Arc::clone(self))));
            }
            let (sender, waiting) = oneshot::channel();
            let line = state.lines.entry(source).or_default();
            let first = line.is_empty();
            line.push_back(sender);
            if first {
                state.round.push_back(source);
            }
            waiting
        };
        waiting.await.ok()
    }

    /// Gives a turn that is over to whoever is next and still waits.
    fn pass_on(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(Some(Arc::clone(&self)))) {
                Ok(()) => return,
                // Who waited has gone just now.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

/// One turn, which ends when this is dropped, also where nobody has taken it yet.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Turns>>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    type Order = Arc<Mutex<Vec<&'static str>>>;

    async fn settle() {
        for _ in 0..16 {
            yield_now().await;
        }
    }

    /// Turns one at a time, the first of which is taken.
    async fn taken() -> (Arc<Turns>, Order, Turn) {
        let turns = Turns::new(1);
        let first = turns.take(IpAddr::from([192, 0, 2, 9])).await.unwrap();
        (turns, Order::default(), first)
    }

    /// A task that waits for its turn, and notes when it had it.
    async fn wait(turns: &Arc<Turns>, source: u8, name: &'static str, order: &Order) -> JoinHandle<()> {
        let (turns, order) = (Arc::clone(turns), Arc::clone(order));
        let task = tokio::spawn(async move {
            let _turn = turns.take(IpAddr::from([192, 0, 2, source])).await.unwrap();
            order.lock().unwrap().push(name);
            yield_now().await;
        });
        settle().await;
        task
    }

    #[tokio::test]
    async fn addresses_take_turns_and_each_keeps_its_order() {
        let (turns, order, first) = taken().await;
        for (source, name) in [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (3, "e"), (2, "f")] {
            wait(&turns, source, name, &order).await;
        }
        assert!(order.lock().unwrap().is_empty(), "one at a time");
        drop(first);
        settle().await;
        assert_eq!(*order.lock().unwrap(), ["a", "d", "e", "b", "f", "c"]);
        let state = turns.state();
        assert_eq!((state.free, state.lines.len(), state.round.len()), (1, 0, 0));
    }

    #[tokio::test]
    async fn who_gave_up_costs_its_address_nothing() {
        let (turns, order, first) = taken().await;
        let gone = wait(&turns, 1, "gone", &order).await;
        wait(&turns, 1, "its next", &order).await;
        wait(&turns, 2, "another", &order).await;
        gone.abort();
        settle().await;
        drop(first);
        settle().await;
        assert_eq!(*order.lock().unwrap(), ["its next", "another"]);
        assert_eq!(turns.state().free, 1);
    }

    #[tokio::test]
    async fn the_turn_of_one_who_goes_with_it_in_hand_is_the_next_ones() {
        let (turns, order, first) = taken().await;
        let late = wait(&turns, 1, "gone with the turn in hand", &order).await;
        wait(&turns, 1, "its next", &order).await;
        wait(&turns, 2, "another", &order).await;
        // Sends the turn to a task that has not run since.
        drop(first);
        late.abort();
        settle().await;
        assert_eq!(*order.lock().unwrap(), ["another", "its next"]);
        assert_eq!(turns.state().free, 1);
    }
}
