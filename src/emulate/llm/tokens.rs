//! Text in the pieces in which a language model makes it.

/// Letters of a word that stay together; a longer word comes in several tokens.
const WORD_LETTERS: usize = 6;

/// Letters of each token of a longer word.
const PART_LETTERS: usize = 4;

/// Digits of a token at most.
const DIGITS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letters,
    Digits,
    Other,
}

impl Class {
    fn of(c: char) -> Self {
        match c {
            ' ' => Self::Space,
            _ if c.is_ascii_digit() => Self::Digits,
            _ if c.is_alphanumeric() => Self::Letters,
            _ => Self::Other,
        }
    }
}

/// Cuts `text` into tokens that give it back when put together.
///
/// A space belongs to the token after it, as with the tokenisers of most models: " Tues", "day", " at", " 5", ".".
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut runs: Vec<(String, Class)> = Vec::new();
    for c in text.chars() {
        let class = Class::of(c);
        match runs.last_mut() {
            Some((run, of)) if *of == class || run == " " => {
                run.push(c);
                *of = class;
            }
            Some(_) | None => runs.push((c.to_string(), class)),
        }
    }
    runs.iter().flat_map(|(run, class)| parts(run, *class)).collect()
}

fn parts(run: &str, class: Class) -> Vec<String> {
    let space = if class != Class::Space && run.starts_with(' ') { " " } else { "" };
    let bare: Vec<char> = run.chars().skip(space.len()).collect();
    let length = match class {
        Class::Letters if bare.len() > WORD_LETTERS => PART_LETTERS,
        Class::Digits => DIGITS,
        Class::Letters | Class::Space | Class::Other => bare.len().max(1),
    };
    let mut parts: Vec<String> = bare.chunks(length).map(|part| part.iter().collect()).collect();
    if let Some(first) = parts.first_mut() {
        first.insert_str(0, space);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_come_in_pieces_with_the_space_before_them() {
        assert_eq!(tokens("On Tuesday at 10:15."), ["On", " Tues", "day", " at", " 10", ":", "15", "."]);
        assert_eq!(tokens("  a b "), ["  ", "a", " b", " "]);
        assert_eq!(tokens("+15550100"), ["+", "155", "501", "00"]);
        assert_eq!(tokens("\u{e9}l\u{e9}phanteau"), ["\u{e9}l\u{e9}p", "hant", "eau"]);
        assert_eq!(tokens(r#"{"day":"Tuesday"}"#), ["{\"", "day", "\":\"", "Tues", "day", "\"}"]);
        assert_eq!(tokens(""), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[ a-z\u{e9}0-9.,\n\u{1f600}]{0,40}") {
            let tokens = tokens(&text);
            prop_assert!(tokens.iter().all(|token| !token.is_empty()));
            prop_assert_eq!(tokens.concat(), text);
        }
    }
}
