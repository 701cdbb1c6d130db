//! By which words and tags a record is found.
//!
//! What is found stands in rows, which every version of the program must make alike: words are told apart and made small by rules of
//! ASCII alone, which no edition of Unicode changes. So `É` is found as `É`, not as `é`.

use std::collections::BTreeSet;

use super::Content;

/// Words of one record that it is found by: those of the title, then those of the description.
const WORDS_MAX: usize = 100;
/// Bytes of a word that count; the rest is cut off, behind a whole character.
const WORD_BYTES_MAX: usize = 40;
/// Words of one question.
pub const QUERY_WORDS_MAX: usize = 8;

/// The words of a text, in their order.
pub fn words_of(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric());
    parts.filter(|word| word.len() > 1).map(|word| cut(word).to_ascii_lowercase())
}

fn cut(word: &str) -> &str {
    let end = word.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let end = end.take_while(|end| *end <= WORD_BYTES_MAX).last().unwrap_or(0);
    word.get(..end).unwrap_or(word)
}

/// The term that stands for a tag.
pub fn tag_term(tag: &str) -> String {
    format!("#{tag}")
}

/// The terms that a record is found by.
pub fn terms_of(content: &Content) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    let texts = [&content.title, &content.description];
    for word in texts.into_iter().flatten().flat_map(|text| words_of(text)) {
        if terms.len() >= WORDS_MAX {
            break;
        }
        terms.insert(word);
    }
    terms.extend(content.tags.iter().flatten().map(|tag| tag_term(tag)));
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        words_of(text).collect()
    }

    #[test]
    fn words_are_small_and_parted_by_what_is_no_letter() {
        assert_eq!(words("Phishing: a new-wave, 2nd!"), ["phishing", "new", "wave", "2nd"]);
        assert_eq!(words("Üble Ökonomie 漏洞"), ["Üble", "Ökonomie", "漏洞"]);
    }

    #[test]
    fn a_long_word_is_cut_behind_a_whole_character() {
        assert_eq!(words(&"漏".repeat(40)), ["漏".repeat(13)]);
        assert_eq!(words(&"A".repeat(90)), ["a".repeat(40)]);
    }

    #[test]
    fn a_record_is_found_by_its_title_its_description_and_its_tags() {
        let content = Content {
            title: Some("Beacon".to_owned()),
            description: Some((0..500).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ")),
            tags: Some(vec!["APT 1".to_owned()]),
            ..Content::default()
        };
        let terms = terms_of(&content);
        assert!(terms.contains("beacon") && terms.contains("w0") && terms.contains("#APT 1"));
        assert_eq!(terms.len(), WORDS_MAX + 1);
    }
}
