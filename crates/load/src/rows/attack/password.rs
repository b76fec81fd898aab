//! Attacks by who has no account: passwords, registrations, signatures that do not hold, and questions for names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::RngExt as _;
use sotto_proto::{
    Signature,
    frame::{
        AccountLogin, AuthKey, ClientFrame, ErrorCode, LookupLists, PasswordLogin, Register, ServerFrame,
    },
    limits::{MAX_LISTS, MAX_PIPELINED},
};
use tokio::time::timeout_at;

use super::{
    Ground,
    crew::{self, Tally},
};
use crate::{
    crowd,
    link::{Link, Target},
    person::{Person, new_name},
    report,
};

/// Who guesses, registers or asks, at a time.
const GUESSERS: usize = 64;
/// Guesses of one address: as many as a server lets pass without a wait.
const GUESSES: usize = 20;
/// Every so often a guess is for a name that exists.
const KNOWN_EVERY: usize = 8;
/// Wrong passwords for one name before there is a wait.
const FREE_FOR_NAME: u64 = 2;
/// What a server takes for Argon2, unless told otherwise.
const HASHING_KIB: u64 = 128 * 1024;
/// Registrations and questions for names from one address at once, and milliseconds until one more.
const REGISTRATIONS: u64 = 1_000;
const REGISTRATION_MS: u64 = 2_000;
/// Questions for a name for each real registration.
const QUESTIONS: usize = 3;
/// Proofs that do not hold before a server closes the connection.
const FALSE_PROOFS: u64 = 8;
/// Look-ups whose time is taken, of one account: with more it would be the time that a server lets it wait.
const TIMED: usize = 12;
/// Memory of one connection.
const CONNECTION_KIB: u64 = 256;

/// A server's answer, as far as an attacker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It did its work.
    Looked,
    /// Not now.
    Wait,
}

fn said(frame: &ServerFrame) -> anyhow::Result<Said> {
    match frame {
        ServerFrame::Done => Ok(Said::Looked),
        ServerFrame::Error(reply) => match reply.code {
            ErrorCode::BAD_CREDENTIALS | ErrorCode::BAD_KEYS | ErrorCode::NAME_TAKEN => Ok(Said::Looked),
            ErrorCode::RATE_LIMITED | ErrorCode::BUSY => Ok(Said::Wait),
            _ => bail!("an answer that was not expected: {reply:?}"),
        },
        other => bail!("an answer that was not expected: {other:?}"),
    }
}

/// The most that a bucket grants in a time.
fn granted_at_most(burst: u64, refill_ms: u64, time: Duration) -> u64 {
    burst + u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / refill_ms + 1
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    report::percentile(&times, 50)
}

/// What one guesser saw: tallies and times for names that exist and for others.
#[derive(Default)]
struct Guesses {
    known: (Tally, Vec<Duration>),
    unknown: (Tally, Vec<Duration>),
}

impl Guesses {
    fn add(&mut self, known: bool, said: Said, time: Duration) {
        let (tally, times) = if known { &mut self.known } else { &mut self.unknown };
        tally.tried += 1;
        match said {
            Said::Looked => {
                tally.granted += 1;
                times.push(time);
            }
            Said::Wait => tally.refused += 1,
        }
    }

    fn all(all: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for one in all {
            for (sum, one) in [(&mut sum.known, one.known), (&mut sum.unknown, one.unknown)] {
                sum.0 = Tally::sum([sum.0, one.0]);
                sum.1.extend(one.1);
            }
        }
        sum
    }

    /// The medians of both.
    fn compare(self) -> String {
        let (known, unknown) = (median(self.known.1), median(self.unknown.1));
        format!("{} where the name exists, {} where not", report::millis(known), report::millis(unknown))
    }
}

/// Wrong passwords for names that exist and for others, from as many addresses as it takes.
pub(super) async fn passwords(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    // As many as are guessed at before the first wait.
    let victims = crowd::register(&target, ground.crew.count(GUESSERS)).await?;
    let (guesses, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            let all = crew.all(crew.count(GUESSERS), |number| {
                let target = target.clone();
                let victim = victims.get(number).map(Arc::clone);
                async move {
                    let victim = victim.context("nobody to guess at")?;
                    let mut guesses = Guesses::default();
                    let mut address = number;
                    while tokio::time::Instant::now() < until {
                        let work = guess(&target, address, &victim, &mut guesses);
                        if let Ok(done) = timeout_at(until, work).await {
                            done?;
                        }
                        address += GUESSERS;
                    }
                    Ok(guesses)
                }
            });
            Ok(Guesses::all(all.await?))
        })
        .await?;
    let (known, unknown) = (guesses.known.0, guesses.unknown.0);
    ensure!(known.granted > 0 && unknown.granted > 0, "no password was checked: nothing was tested");
    // After the free ones, waits of 1, 2, 4 and 8 s: in a minute no more than six.
    let seconds = ground.crew.time().as_secs() + 1;
    let each = FREE_FOR_NAME + 1 + u64::from(u64::BITS - seconds.leading_zeros());
    let most = victims.len() as u64 * each;
    ensure!(known.granted <= most, "{} guesses at {} names, more than {most}", known.granted, victims.len());
    memory.stays_within(HASHING_KIB + GUESSERS as u64 * CONNECTION_KIB)?;
    let rate = report::rate(known.granted + unknown.granted, ground.crew.time());
    let limit = format!(
        "{rate} passwords checked a second; {} of {} at known names ({} have to wait)",
        known.granted, known.tried, known.refused
    );
    Ok(format!("{limit}; {}", guesses.compare()))
}

/// As many guesses as an address has.
async fn guess(
    target: &Target,
    address: usize,
    victim: &Person,
    guesses: &mut Guesses,
) -> anyhow::Result<()> {
    let mut link = Link::open(target, crew::address(address)).await?;
    for number in 0..GUESSES {
        // Not all first: the line is short then.
        let known = (address + number).is_multiple_of(KNOWN_EVERY);
        let username = if known { victim.username.to_string() } else { new_name()?.to_string() };
        let login = PasswordLogin { username, auth_key: AuthKey(rand::rng().random()) };
        let begun = Instant::now();
        let answer = link.ask(&ClientFrame::PasswordLogin(login)).await?;
        guesses.add(known, said(&answer)?, begun.elapsed());
    }
    link.bye().await
}

/// Registrations and questions for names without end, from one address.
pub(super) async fn registrations(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let begun = Instant::now();
    let (tally, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            let all = crew.all(crew.count(GUESSERS), |_| {
                let target = target.clone();
                async move {
                    let mut tally = Tally::default();
                    let mut link = Link::open(&target, crew::address(0)).await?;
                    while tokio::time::Instant::now() < until {
                        for _ in 0..QUESTIONS {
                            let question = Register::question(new_name()?.to_string());
                            let answer = link.ask(&ClientFrame::Register(question)).await?;
                            count(&mut tally, &answer)?;
                        }
                        let register = link.registration(&Person::new()?);
                        count(&mut tally, &link.ask(&ClientFrame::Register(register)).await?)?;
                    }
                    Ok(tally)
                }
            });
            Ok(Tally::sum(all.await?))
        })
        .await?;
    registrations_hold(tally, begun.elapsed())?;
    memory.stays_within(HASHING_KIB + GUESSERS as u64 * CONNECTION_KIB)?;
    Ok(format!("{} of {} registrations and questions from one address granted", tally.granted, tally.tried))
}

fn count(tally: &mut Tally, answer: &ServerFrame) -> anyhow::Result<()> {
    tally.tried += 1;
    match said(answer)? {
        Said::Looked => tally.granted += 1,
        Said::Wait => tally.refused += 1,
    }
    Ok(())
}

fn registrations_hold(tally: Tally, time: Duration) -> anyhow::Result<()> {
    ensure!(tally.granted > 0, "nothing was granted: nothing was tested");
    let most = granted_at_most(REGISTRATIONS, REGISTRATION_MS, time);
    ensure!(tally.granted <= most, "{} registrations from one address, more than {most}", tally.granted);
    Ok(())
}

/// Signatures that do not hold, which cost the server more than they cost who makes them up: registrations with the
/// longest device list there is, and logins by account key; from one address.
pub(super) async fn forgeries(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let victim = crowd::register(&target, 1).await?.pop().context("nobody was registered")?;
    let thief = Arc::new(Person::with_long_list()?);
    let begun = Instant::now();
    let ((registrations, logins, closed), _) = ground
        .under(async |crew| {
            let until = crew.until();
            let all = crew.all(crew.count(GUESSERS / 4), |_| {
                let (target, victim, thief) = (target.clone(), Arc::clone(&victim), Arc::clone(&thief));
                async move {
                    let (mut registrations, mut logins, mut closed) = (Tally::default(), 0_u64, 0_u64);
                    while tokio::time::Instant::now() < until {
                        let mut link = Link::open(&target, crew::address(0)).await?;
                        forge_registrations(&mut link, &thief, &mut registrations).await?;
                        logins += forge_logins(&mut link, &victim).await?;
                        closed += 1;
                    }
                    Ok((registrations, logins, closed))
                }
            });
            let all = all.await?;
            let sum = |of: fn(&(Tally, u64, u64)) -> u64| all.iter().map(of).sum::<u64>();
            let registrations = Tally::sum(all.iter().map(|(registrations, ..)| *registrations));
            Ok((registrations, sum(|(_, logins, _)| *logins), sum(|(.., closed)| *closed)))
        })
        .await?;
    registrations_hold(registrations, begun.elapsed())?;
    ensure!(logins > 0, "no login was checked: nothing was tested");
    ensure!(logins <= closed * FALSE_PROOFS, "{logins} false proofs on {closed} connections");
    Ok(format!(
        "{} of {} forged registrations looked at; {logins} forged logins, {} to a connection",
        registrations.granted,
        registrations.tried,
        logins / closed.max(1)
    ))
}

/// A pipeline full of registrations that somebody else signed.
async fn forge_registrations(link: &mut Link, thief: &Person, tally: &mut Tally) -> anyhow::Result<()> {
    let mut register = link.registration(thief);
    register.signature = Signature([0; 64]);
    let frame = ClientFrame::Register(register);
    for _ in 0..MAX_PIPELINED {
        link.send(&frame).await?;
    }
    for _ in 0..MAX_PIPELINED {
        count(tally, &link.next().await?)?;
    }
    Ok(())
}

/// A pipeline full of logins with signatures of nobody, until the server closes; how many it looked at.
async fn forge_logins(link: &mut Link, victim: &Person) -> anyhow::Result<u64> {
    let login = AccountLogin { username: victim.username.to_string(), signature: Signature([0; 64]) };
    let frame = ClientFrame::AccountLogin(login);
    for _ in 0..MAX_PIPELINED {
        if link.send(&frame).await.is_err() {
            break;
        }
    }
    let mut looked = 0;
    while looked < MAX_PIPELINED as u64
        && let Ok(answer) = link.next().await
    {
        ensure!(said(&answer)? == Said::Looked, "a login was not looked at");
        looked += 1;
    }
    Ok(looked)
}

/// Questions for names: of who has no account from one address, and of who has one without a limit.
pub(super) async fn names(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let people = crowd::register(&target, ground.crew.count(GUESSERS / 2)).await?;
    let begun = Instant::now();
    let ((asked, looked_up), _) = ground
        .under(async |crew| {
            let until = crew.until();
            let all = crew.all(2 * people.len(), |number| {
                let target = target.clone();
                let person = people.get(number / 2).map(Arc::clone);
                async move {
                    let person = person.context("an attacker without an account")?;
                    if number % 2 == 0 {
                        Ok((ask(&target, &person, until).await?, Guesses::default()))
                    } else {
                        let link = Link::signed_in(&target, crew::address(1 + number), &person).await?;
                        Ok((Guesses::default(), look_up(link, &person, until).await?))
                    }
                }
            });
            let (asked, looked_up) = all.await?.into_iter().unzip();
            Ok((Guesses::all(asked), Guesses::all(looked_up)))
        })
        .await?;
    registrations_hold(Tally::sum([asked.known.0, asked.unknown.0]), begun.elapsed())?;
    ensure!(looked_up.unknown.0.granted > 0, "nothing was looked up: nothing was tested");
    let (granted, rate) = (
        asked.known.0.granted + asked.unknown.0.granted,
        report::rate(looked_up.known.0.granted + looked_up.unknown.0.granted, ground.crew.time()),
    );
    let tried = asked.known.0.tried + asked.unknown.0.tried;
    Ok(format!(
        "{granted} of {tried} questions from one address granted ({}); {rate} look-ups a second by accounts ({})",
        asked.compare(),
        looked_up.compare()
    ))
}

/// Without an account, from one address.
async fn ask(target: &Target, person: &Person, until: tokio::time::Instant) -> anyhow::Result<Guesses> {
    let mut guesses = Guesses::default();
    let mut link = Link::open(target, crew::address(0)).await?;
    let mut known = false;
    while tokio::time::Instant::now() < until {
        known = !known;
        let name = if known { person.username.to_string() } else { new_name()?.to_string() };
        let begun = Instant::now();
        let answer = link.ask(&ClientFrame::Register(Register::question(name))).await?;
        guesses.add(known, said(&answer)?, begun.elapsed());
    }
    Ok(guesses)
}

/// With an account, as many names at a time as may be.
async fn look_up(mut link: Link, person: &Person, until: tokio::time::Instant) -> anyhow::Result<Guesses> {
    let mut guesses = Guesses::default();
    let mut known = false;
    while tokio::time::Instant::now() < until {
        known = !known;
        let names = (0..MAX_LISTS)
            .map(|_| if known { Ok(person.username.to_string()) } else { Ok(new_name()?.to_string()) })
            .collect::<anyhow::Result<_>>()?;
        let begun = Instant::now();
        match link.ask(&ClientFrame::LookupLists(LookupLists { names, accounts: Vec::new() })).await? {
            ServerFrame::Lists(_) => guesses.add(known, Said::Looked, begun.elapsed()),
            other => bail!("LookupLists was answered by {other:?}"),
        }
    }
    guesses.known.1.truncate(TIMED);
    guesses.unknown.1.truncate(TIMED);
    Ok(guesses)
}
