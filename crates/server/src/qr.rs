//! A text as a QR code for a terminal, two modules to a character.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

/// The code; `None` if the text is too long for any. At the lowest error correction a server's address in upper case
/// takes 37 to 41 columns and 21 lines, which fit a terminal of 80x24.
pub(crate) fn code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    // Terminals are mostly dark: the light modules are the ones that are painted.
    let mut image = code.render::<Dense1x2>();
    Some(image.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_fits_a_small_terminal() {
        let text = format!("SOTTO://{}:65535/{}", "A".repeat(30), "B".repeat(52));
        let code = code(&text).unwrap();
        assert!(code.lines().count() <= 23, "{}", code.lines().count());
        assert!(code.lines().all(|line| line.chars().count() <= 80));
        assert_eq!(super::code(&"a".repeat(10_000)), None);
    }
}
