//! How many connections each address has: one alone takes neither all places nor all handshakes.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Handshakes under way from one address: one in eight of all. Those of a class behind one router that come back at the
/// same moment find room, or come again a moment later.
const HALF_OPEN: usize = 512;

/// Why an address gets no further connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// It has as many as one address may have. `first` says whether it is the first to be turned away since it had none.
    Open {
        /// Whether the operator has not been told yet.
        first: bool,
    },
    /// Too many of its handshakes are under way.
    HalfOpen,
}

#[derive(Debug, Default)]
struct Row {
    open: usize,
    half_open: usize,
    told: bool,
}

/// The connections of each address; as many rows as there are addresses with one.
#[derive(Debug)]
pub(super) struct Addresses {
    rows: Mutex<HashMap<IpAddr, Row>>,
    most: AtomicUsize,
}

/// Whether a proxy or an onion service on this machine brings everybody from there: only the limits of the whole server hold.
fn of_everybody(source: IpAddr) -> bool {
    source == Ipv4Addr::LOCALHOST || source == crate::core::source(Ipv6Addr::LOCALHOST.into())
}

impl Addresses {
    /// So many connections for each address, handshakes included.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { rows: Mutex::default(), most: AtomicUsize::new(most) })
    }

    /// From now on so many; who is there stays.
    pub(super) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<IpAddr, Row>> {
        // Nothing that holds the lock can panic.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection whose handshake begins.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr) -> Result<Place, Full> {
        let most = self.most.load(Ordering::Relaxed);
        let mut rows = self.rows();
        let row = rows.entry(source).or_default();
        if !of_everybody(source) {
            if row.open >= most {
                return Err(Full::Open { first: !std::mem::replace(&mut row.told, true) });
            }
            if row.half_open >= HALF_OPEN {
                return Err(Full::HalfOpen);
            }
        }
        row.open += 1;
        row.half_open += 1;
        drop(rows);
        Ok(Place { addresses: Arc::clone(self), source, half_open: true })
    }
}

/// A connection's place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Arc<Addresses>,
    source: IpAddr,
    half_open: bool,
}

impl Place {
    /// Its handshake is done.
    pub(super) fn opened(&mut self) {
        if std::mem::take(&mut self.half_open)
            && let Some(row) = self.addresses.rows().get_mut(&self.source)
        {
            row.half_open -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.opened();
        let mut rows = self.addresses.rows();
        if let Some(row) = rows.get_mut(&self.source) {
            row.open -= 1;
            if row.open == 0 {
                rows.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn one_address_has_its_places_and_others_have_theirs() {
        let addresses = Addresses::new(2);
        let one = addresses.enter(HOME).unwrap();
        let _two = addresses.enter(HOME).unwrap();
        assert_eq!(addresses.enter(HOME).unwrap_err(), Full::Open { first: true });
        assert_eq!(addresses.enter(HOME).unwrap_err(), Full::Open { first: false }, "told once");
        let other = addresses.enter("10.0.0.1".parse().unwrap()).unwrap();
        drop(one);
        let again = addresses.enter(HOME).unwrap();
        addresses.set_most(1);
        assert!(addresses.enter(HOME).is_err());
        drop((again, other));
        assert_eq!(addresses.rows().len(), 1, "who has no connection leaves nothing behind");
    }

    #[test]
    fn who_comes_through_this_machine_is_not_counted_together() {
        let addresses = Addresses::new(1);
        let local = [Ipv4Addr::LOCALHOST.into(), crate::core::source(Ipv6Addr::LOCALHOST.into())];
        let places: Vec<Place> = local
            .into_iter()
            .cycle()
            .take(2 * HALF_OPEN + 2)
            .map(|at| addresses.enter(at).unwrap())
            .collect();
        let _one = addresses.enter(HOME).unwrap();
        assert!(addresses.enter(HOME).is_err());
        drop(places);
        assert_eq!(addresses.rows().len(), 1);
    }

    #[test]
    fn handshakes_under_way_have_a_limit_of_their_own() {
        let addresses = Addresses::new(10_000);
        let mut places: Vec<Place> = (0..HALF_OPEN).map(|_| addresses.enter(HOME).unwrap()).collect();
        assert_eq!(addresses.enter(HOME).unwrap_err(), Full::HalfOpen);
        places[0].opened();
        places[0].opened();
        let _one_more = addresses.enter(HOME).unwrap();
        assert_eq!(addresses.enter(HOME).unwrap_err(), Full::HalfOpen, "a handshake is done once");
        places.truncate(1);
        assert_eq!(addresses.rows()[&HOME].half_open, 1);
    }
}
