//! What goes over a connection, piece by piece: a megabyte at once would be felt by everybody.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::Poll,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::Semaphore,
    task::yield_now,
};

/// Bytes read at once, into a buffer of the thread: an idle connection holds none.
const READ_AT_ONCE: usize = 16 * 1024;
/// Bytes read or written before other connections have their turn: a megabyte at once would be felt by all of them.
pub(super) const BEFORE_OTHERS: usize = 16 * 1024;
/// How many connections may read or write such a piece of something long at a time: enough for several processors, and
/// all of them together take some tens of microseconds.
pub(super) const LONG_AT_ONCE: usize = 4;

/// Reads once, into a buffer that belongs to the thread; `Ok(0)` is the end.
pub(super) async fn read_some<R: AsyncRead + Unpin>(
    reading: &mut R,
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_AT_ONCE]);
    }
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(&mut *reading).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    take(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
            }
        })
    })
    .await
}

/// Reads once of something long, in turn with the others who do; whatever else is ready to run comes first.
pub(super) async fn read_in_turn<R: AsyncRead + Unpin>(
    reading: &mut R,
    long: &Semaphore,
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    loop {
        {
            let _turn = long.acquire().await;
            yield_now().await;
            if let Poll::Ready(read) = at_once(read_some(reading, &mut take)).await {
                return read;
            }
        }
        // Nobody waits for a peer with a turn in hand.
        woken().await;
    }
}

/// Writes a piece of something long in the same way.
pub(super) async fn write_in_turn<W: AsyncWrite + Unpin>(
    writing: &mut W,
    long: &Semaphore,
    piece: &[u8],
) -> io::Result<()> {
    let mut left = piece;
    while !left.is_empty() {
        let written = {
            let _turn = long.acquire().await;
            yield_now().await;
            at_once(writing.write(left)).await
        };
        match written {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(written) => left = left.get(written?..).unwrap_or_default(),
            Poll::Pending => woken().await,
        }
    }
    Ok(())
}

/// Waits until this task is woken, by what it did last before this.
async fn woken() {
    let mut asleep = false;
    poll_fn(|_| if std::mem::replace(&mut asleep, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// What a future comes to that does not wait.
async fn at_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}
