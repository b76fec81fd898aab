//! Many people: made, registered and signed in, a few at a time.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::{link::Link, link::Target, person::Person};

/// Handshakes and registrations under way at a time: enough to keep two processors busy.
pub(crate) const AT_ONCE: usize = 32;
/// People who come from one address. A server lets a thousand accounts be made from one before it asks to wait.
const PER_ADDRESS: usize = 900;

/// From where the person with this number comes. On the loopback there are 16 million addresses to come from; elsewhere
/// there is one.
pub(crate) fn source(target: &Target, number: usize) -> Option<IpAddr> {
    if !target.is_loopback_v4() {
        return None;
    }
    let [_, _, high, low] = u32::try_from(number / PER_ADDRESS + 1).unwrap_or(u32::MAX).to_be_bytes();
    Some(Ipv4Addr::new(127, 77, high, low).into())
}

/// Makes and registers people; none is connected afterwards.
pub(crate) async fn register(target: &Target, people: usize) -> anyhow::Result<Vec<Arc<Person>>> {
    each(0..people, |number| {
        let target = target.clone();
        async move {
            let person = Person::new()?;
            let mut link = Link::open(&target, source(&target, number)).await?;
            link.register(&person).await.context("making the accounts")?;
            link.bye().await?;
            Ok(Arc::new(person))
        }
    })
    .await
}

/// Signs people in.
pub(crate) async fn sign_in(target: &Target, people: &[Arc<Person>]) -> anyhow::Result<Vec<Link>> {
    each(people.iter().cloned().enumerate(), |(number, person)| {
        let target = target.clone();
        async move { Link::signed_in(&target, source(&target, number), &person).await }
    })
    .await
}

/// Does something for each item, `AT_ONCE` at a time; the results are in the order of the items.
pub(crate) async fn each<I, F, R>(
    items: impl IntoIterator<Item = I>,
    mut work: impl FnMut(I) -> F,
) -> anyhow::Result<Vec<R>>
where
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
    R: Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut results = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        if tasks.len() >= AT_ONCE {
            results.extend(tasks.join_next().await);
        }
        let task = work(item);
        tasks.spawn(async move { (place, task.await) });
    }
    while let Some(result) = tasks.join_next().await {
        results.push(result);
    }
    let mut done = Vec::with_capacity(results.len());
    for result in results {
        let (place, result) = result.context("a task of this program failed")?;
        done.push((place, result?));
    }
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
