//! What was probably meant.

/// The known word that differs from `typed` in at most two letters.
pub(crate) fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    // The table grows with the word; nobody misspells one of such a length.
    if typed.len() > 64 {
        return None;
    }
    known.iter().map(|key| (distance(typed, key), *key)).filter(|(d, _)| *d <= 2).min().map(|(_, key)| key)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (above, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, next);
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters_put_in_left_out_or_changed() {
        assert_eq!(distance("colour", "color"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn what_is_far_from_everything_is_near_to_nothing() {
        assert_eq!(nearest("exti", &["exit", "list"]), Some("exit"));
        assert_eq!(nearest("frobnicate", &["exit", "list"]), None);
        assert_eq!(nearest(&"exit".repeat(100), &["exit"]), None);
    }
}
