/// Whether every number in a JSON text has the same value after it was read and written again.
/// Whole numbers of 64 bits do, and others of up to 15 digits; a double can't hold all of more,
/// and an amount or an identifier must not change on its way. Spelling may change: 1.10 is 1.1.
///
/// The text must be JSON.
pub fn keeps_numbers(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => behind_string(behind),
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                let (number, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                if !is_kept(number) {
                    return false;
                }
                behind
            }
            _ => behind,
        };
    }
    true
}

fn behind_string(text: &[u8]) -> &[u8] {
    let mut escaped = false;
    let end = text.iter().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    });
    end.and_then(|end| text.get(end + 1..)).unwrap_or_default()
}

fn is_kept(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else { return false };
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(read) = text.parse::<f64>() else { return false };
    read.is_finite() && Decimal::of(text) == Decimal::of(&format!("{read:e}"))
}

/// A number as its digits, without zeros at either end, and the power of ten of the first.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` if the exponent is beyond all reason.
    fn of(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('-');
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let leading_zeros = i64::try_from(all.len() - digits.len()).ok()?;
        let digits = digits.trim_end_matches('0').to_owned();
        let exponent = exponent.checked_add(i64::try_from(whole.len()).ok()? - leading_zeros)?;
        Some(Self { exponent: if digits.is_empty() { 0 } else { exponent }, digits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_identifiers_of_common_length_are_kept() {
        for number in [
            "0",
            "-0",
            "0.0",
            "1.10",
            "-12.50",
            "99999999999.99",
            "123456789012345",
            "0.1",
            "1e3",
            "1E+3",
            "1.5e-7",
            "9223372036854775807",
            "18446744073709551615",
            "0.000001234567890123",
            "100000000000000000000",
            "1e22",
        ] {
            assert!(keeps_numbers(number.as_bytes()), "{number}");
        }
    }

    #[test]
    fn a_number_that_would_come_out_as_another_is_seen() {
        for number in [
            "12345678901234567890123",
            "18446744073709551617",
            "0.12345678901234567890",
            "12345678901234567.89",
            "1e400",
            "-1e-400",
            "1e99999999999999999999",
        ] {
            assert!(!keeps_numbers(number.as_bytes()), "{number}");
            let inside = format!(r#"{{"a":[1,"x\"9",{{"b":{number}}}],"c":2}}"#);
            assert!(!keeps_numbers(inside.as_bytes()), "{inside}");
        }
    }

    #[test]
    fn digits_in_texts_are_no_numbers() {
        let text =
            r#"{"12345678901234567890123":"12345678901234567890123","a\\":"\\\"1e400","b":1}"#;
        assert!(keeps_numbers(text.as_bytes()));
    }
}
