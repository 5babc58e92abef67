//! The words of a text, as every index finds them: runs of letters and digits in lower case.
//!
//! The same as tantivy's default analyser, which the embedded index uses; a test holds the two together.

/// Longer words, in bytes, are neither indexed nor asked for.
const TOO_LONG: usize = 40;

pub fn words(text: &str) -> impl Iterator<Item = String> {
    let runs = text.split(|letter: char| !letter.is_alphanumeric());
    runs.filter(|run| !run.is_empty() && run.len() < TOO_LONG)
        .map(|run| run.chars().flat_map(char::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tantivy::tokenizer::{LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer};

    use super::*;

    fn tantivys(text: &str) -> Vec<String> {
        let simple = TextAnalyzer::builder(SimpleTokenizer::default());
        let mut analyser = simple.filter(RemoveLongFilter::limit(TOO_LONG)).filter(LowerCaser).build();
        let (mut stream, mut words) = (analyser.token_stream(text), Vec::new());
        stream.process(&mut |token| words.push(token.text.clone()));
        words
    }

    #[test]
    fn words_are_lower_case_runs_of_letters_and_digits() {
        let text = format!("Green-red, ÉTAGE 12 {} İstanbul", "x".repeat(40));
        assert_eq!(words(&text).collect::<Vec<_>>(), ["green", "red", "étage", "12", "i\u{307}stanbul"]);
    }

    proptest! {
        #[test]
        fn they_are_those_of_tantivy(text in "\\PC{0,60}") {
            prop_assert_eq!(words(&text).collect::<Vec<_>>(), tantivys(&text));
        }
    }
}
