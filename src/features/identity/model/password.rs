//! Which passwords are taken. No rule about their composition: length, and how soon they would be guessed.

use zxcvbn::{Score, zxcvbn};

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in characters.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// Shorter words say too little about a person to be looked for.
const CONTEXT_CHARS_MIN: usize = 4;
/// What every installation's passwords must not be made of.
const PRODUCT: &[&str] = &["threatflow", "threat flow", "threatintel"];

/// Whether a password has a length that is taken, or what would be right.
pub fn judge_password(password: &str) -> Result<(), String> {
    let chars = password.chars().count();
    if (PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        return Ok(());
    }
    Err(format!("must be {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters long"))
}

/// Whether a password would withstand guessing by somebody who knows `context` (the person's address and names, the
/// organization's name) and the lists of passwords that leaked elsewhere, or what would be right.
///
/// The lists of common and breached passwords, words and names are those that `zxcvbn` carries; they lie in the
/// binary. Fewer than 10^8 guesses are refused.
pub fn judge_strength(password: &str, context: &[&str]) -> Result<(), String> {
    judge_password(password)?;
    let lower = password.to_lowercase();
    let words = context.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let words: Vec<String> = words.chain(PRODUCT.iter().copied()).map(str::to_lowercase).collect();
    let known = words.iter().filter(|word| word.chars().count() >= CONTEXT_CHARS_MIN);
    if let Some(word) = known.clone().find(|word| lower.contains(word.as_str())) {
        return Err(format!("must not contain {word:?}, which others know about you or this organization"));
    }
    let inputs: Vec<&str> = known.map(String::as_str).collect();
    if zxcvbn(password, &inputs).score() >= Score::Three {
        return Ok(());
    }
    Err("is too easy to guess: it is made of common or breached passwords, words, dates or patterns; \
         use several unrelated words or a password manager"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters() {
        assert!(judge_password(&"ä".repeat(12)).is_ok());
        assert!(judge_password(&"x".repeat(11)).is_err());
        assert!(judge_password(&"x".repeat(128)).is_ok());
        assert!(judge_password(&"x".repeat(129)).is_err());
    }

    #[test]
    fn what_is_common_breached_or_known_about_somebody_is_refused_and_anything_else_is_taken() {
        let context = ["ann.miller@acme-labs.example", "Acme Labs"];
        for refused in [
            "password1234",
            "Passw0rd!Passw0rd!",
            "123456789012",
            "qwertyuiop123",
            "aaaaaaaaaaaaaaaa",
            "iloveyou12345",
            "letmeinletmein",
            "drowssap987654",
            "miller-staircase-orbit-77",
            "staircase ACME orbit lamp",
            "xkcd-threatflow-orbit-lamp",
        ] {
            assert!(judge_strength(refused, &context).is_err(), "{refused}");
        }
        for taken in [
            "correct horse battery staple",
            "staircase orbit lamp",
            "vqzrkwmbtyxp",
            "Über-7-Brücken-musst-du-gehn",
            "8f3c2a91d7e4",
        ] {
            assert_eq!(judge_strength(taken, &context), Ok(()), "{taken}");
        }
    }
}
