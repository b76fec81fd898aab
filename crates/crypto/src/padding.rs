//! Padmé padding (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs",
//! section 4) over a floor: a length leaks at most `log log` of itself and costs at most 12 %.

use sotto_proto::limits::PADDING_FLOOR;

/// The length to which `length` bytes are padded: at least [`PADDING_FLOOR`], then Padmé.
pub(crate) fn padded_length(length: usize) -> usize {
    if length <= PADDING_FLOOR {
        return PADDING_FLOOR;
    }
    let exponent = length.ilog2();
    let mantissa_bits = exponent.ilog2().saturating_add(1);
    let mask = (1usize << exponent.saturating_sub(mantissa_bits)).saturating_sub(1);
    length.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_the_paper() {
        // E = 11, S = 4, so the last 7 bits are cleared by rounding up.
        assert_eq!(padded_length(0), 2048);
        assert_eq!(padded_length(2048), 2048);
        assert_eq!(padded_length(2049), 2176);
        assert_eq!(padded_length(2176), 2176);
        assert_eq!(padded_length(2177), 2304);
        assert_eq!(padded_length(4096), 4096);
        assert_eq!(padded_length(4097), 4352);
        assert_eq!(padded_length(32_769), 34_816);
    }

    proptest! {
        #[test]
        fn padding_grows_never_shrinks_and_stays_below_an_eighth(length in 0usize..70_000) {
            let padded = padded_length(length);
            prop_assert!(padded >= length && padded >= PADDING_FLOOR);
            prop_assert!(length <= PADDING_FLOOR || (padded - length) * 8 < length);
            prop_assert_eq!(padded_length(padded), padded);
            prop_assert!(padded_length(length + 1) >= padded);
        }
    }
}
