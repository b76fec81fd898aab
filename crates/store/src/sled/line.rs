//! A bounded line of work between the callers and the threads that do it.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::StoreError;

/// A line with room for so many items and bytes.
#[derive(Debug)]
pub(crate) struct Line<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
    max_items: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// Why nothing more is taken.
    closed: Option<StoreError>,
}

impl<T> Line<T> {
    pub(crate) fn new(max_items: usize, max_bytes: usize) -> Self {
        let queue = Queue { items: VecDeque::new(), bytes: 0, closed: None };
        Self { queue: Mutex::new(queue), arrived: Condvar::new(), max_items, max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item at the end, at once or not at all.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), StoreError> {
        let mut queue = self.lock();
        if let Some(reason) = &queue.closed {
            return Err(reason.clone());
        }
        // An item larger than the line is taken when the line is empty, or it could never be.
        let full = queue.items.len() >= self.max_items || queue.bytes.saturating_add(bytes) > self.max_bytes;
        if full && !queue.items.is_empty() {
            return Err(StoreError::Busy);
        }
        queue.bytes = queue.bytes.saturating_add(bytes);
        queue.items.push_back((item, bytes));
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits until there is something and takes it, at most so many items and bytes (but at least one item). `None` when
    /// the line is closed and empty.
    pub(crate) fn take(&self, max_items: usize, max_bytes: usize) -> Option<Vec<T>> {
        let mut queue = self.lock();
        while queue.items.is_empty() {
            if queue.closed.is_some() {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut taken, mut total) = (Vec::new(), 0_usize);
        while taken.len() < max_items
            && let Some((_, bytes)) = queue.items.front()
            && (taken.is_empty() || total.saturating_add(*bytes) <= max_bytes)
            && let Some((item, bytes)) = queue.items.pop_front()
        {
            total = total.saturating_add(bytes);
            queue.bytes = queue.bytes.saturating_sub(bytes);
            taken.push(item);
        }
        Some(taken)
    }

    /// Takes no more from now on, for this reason; what is in the line stays. The first reason stands.
    pub(crate) fn close(&self, reason: StoreError) {
        self.lock().closed.get_or_insert(reason);
        self.arrived.notify_all();
    }

    /// Closes and empties, and hands out what was in the line.
    pub(crate) fn abort(&self, reason: StoreError) -> Vec<T> {
        let mut queue = self.lock();
        queue.closed = Some(reason);
        queue.bytes = 0;
        let items = std::mem::take(&mut queue.items).into_iter().map(|(item, _)| item).collect();
        drop(queue);
        self.arrived.notify_all();
        items
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_bounded_in_items_and_bytes_and_keeps_its_order() {
        let line = Line::new(3, 100);
        assert_eq!(line.push(1, 150), Ok(()), "an item above the bound, alone");
        assert_eq!(line.push(2, 1), Err(StoreError::Busy));
        assert_eq!(line.take(9, 9), Some(vec![1]));
        for item in 2..5 {
            assert_eq!(line.push(item, 30), Ok(()));
        }
        assert_eq!(line.push(5, 1), Err(StoreError::Busy));
        assert_eq!(line.take(9, 60), Some(vec![2, 3]));
        assert_eq!(line.push(6, 71), Err(StoreError::Busy));
        assert_eq!(line.push(6, 70), Ok(()));
        assert_eq!(line.take(1, 100), Some(vec![4]), "so many items, also where there is room for more");
        line.close(StoreError::Stopped);
        assert_eq!(line.push(7, 1), Err(StoreError::Stopped));
        assert_eq!(line.take(1, 70), Some(vec![6]));
        assert_eq!(line.take(1, 0), None);
        assert_eq!(line.abort(StoreError::Busy), Vec::<i32>::new());
    }
}
