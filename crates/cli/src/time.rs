//! Times as scripts and people read them, and durations as they type them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

/// RFC 3339 in UTC with milliseconds; a time that no calendar has is shown as the epoch.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    format!("{:.3}", timestamp(unix_ms))
}

/// Local time to the minute, for people.
pub(crate) fn local_minute(unix_ms: u64) -> String {
    timestamp(unix_ms).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Local time of the day, for people who know which day it is.
pub(crate) fn local_clock(unix_ms: u64) -> String {
    timestamp(unix_ms).to_zoned(TimeZone::system()).strftime("%H:%M").to_string()
}

fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reads RFC 3339 (with any offset), or a date, which is its start in UTC. Unix milliseconds.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => text.parse::<jiff::civil::Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    u64::try_from(time.as_millisecond()).ok()
}

/// Reads `500ms`, `30s`, `5m`, `2h` or a bare number of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write for example 500ms, 30s, 5m or 2h");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_248_000_120), "2026-11-21T08:00:00.120Z");
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_printed_reads_back_and_dates_and_offsets_are_understood() {
        for ms in [0, 1, 1_795_248_000_120] {
            assert_eq!(parse_time(&rfc3339(ms)), Some(ms));
        }
        assert_eq!(parse_time("2026-11-21T10:00:00+02:00"), Some(1_795_248_000_000));
        assert_eq!(parse_time("2026-11-21"), Some(1_795_219_200_000));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s", "9999999999999999999h", "é"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
