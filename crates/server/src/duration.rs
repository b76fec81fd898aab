//! Lengths of time as the operator writes them, and times as JSON and people read them.

use sotto_proto::limits::DAY_MS;

/// Longer than anybody plans.
const LONGEST_MS: u64 = 3650 * DAY_MS;

/// A whole number and `m`, `h`, `d` or `w`, in milliseconds.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("a length of time is a whole number and m, h, d or w, as 12h or 7d, not {text:?}");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let unit_ms = match unit {
        'm' => 60_000,
        'h' => 60 * 60_000,
        'd' => DAY_MS,
        'w' => 7 * DAY_MS,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    match number.checked_mul(unit_ms) {
        Some(0) | None => Err("a length of time is at least 1m and at most 3650d".to_owned()),
        Some(ms) if ms > LONGEST_MS => Err("a length of time is at least 1m and at most 3650d".to_owned()),
        Some(ms) => Ok(ms),
    }
}

/// RFC 3339, UTC, whole seconds.
pub(crate) fn rfc3339(ms: u64) -> String {
    let second = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    // What no calendar has stands as the last time there is.
    format!("{:.0}", jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_mistakes_explained() {
        assert_eq!(parse("90m"), Ok(90 * 60_000));
        assert_eq!(parse("12h"), Ok(DAY_MS / 2));
        assert_eq!((parse("7d"), parse("1w")), (Ok(7 * DAY_MS), Ok(7 * DAY_MS)));
        for wrong in ["", "d", "7", "7 d", "-7d", "0d", "3651d", "99999999999999999999d", "7é"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1_800_000_000_999), "2027-01-15T08:00:00Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}
