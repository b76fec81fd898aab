//! Numbers as people read them.

use std::time::Duration;

/// Prints one measurement.
pub(crate) fn row(name: &str, text: &str) {
    println!("{name:<6} {text}");
}

/// `12,345`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many a second.
pub(crate) fn rate(number: u64, time: Duration) -> String {
    // A nanosecond more than nothing: a rate of a run that took no time has no meaning, but is no crash either.
    let nanos = time.as_nanos().max(1);
    count(u64::try_from(u128::from(number) * 1_000_000_000 / nanos).unwrap_or(u64::MAX))
}

/// `3.24 s`
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// `0.123 ms`
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

/// `45 µs` for each of a number.
pub(crate) fn each(time: Duration, number: u64) -> String {
    let micros = time.as_micros() / u128::from(number.max(1));
    format!("{micros} µs")
}

/// The value that `percent` of the sorted values do not exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1_000, 12_345, 1_234_567].map(count),
            ["0", "999", "1,000", "12,345", "1,234,567"]
        );
        assert_eq!(rate(1_000, Duration::from_millis(500)), "2,000");
        assert_eq!(each(Duration::from_millis(9), 3), "3000 µs");
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(times.get(..1).unwrap_or_default(), 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
