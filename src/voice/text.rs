//! Any text, made pronounceable for an English ASCII voice without losing where each word came from.

/// One written word and what the engine is asked to say for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// The word as it stands in the input, punctuation included.
    pub(super) written: &'a str,
    /// What to say: visible ASCII with at least one letter, digit or spoken symbol.
    pub(super) spoken: String,
    /// Whether a blank line stood before it: a pause that punctuation does not show.
    pub(super) paragraph: bool,
}

/// Symbols that the engine reads aloud on their own.
const SPOKEN_SYMBOLS: &str = "&%$#@+=*";

/// The pronounceable words of `text`, in order.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found: Vec<Token<'_>> = Vec::new();
    let mut paragraph = false;
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let (space, after) = rest.split_at(start);
        paragraph |= space.matches('\n').count() > 1;
        let (written, after) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
        rest = after;
        let spoken = fold(written);
        if spoken.contains(|c: char| c.is_ascii_alphanumeric() || SPOKEN_SYMBOLS.contains(c)) {
            found.push(Token { written, spoken, paragraph });
            paragraph = false;
        } else if let (false, Some(last)) = (paragraph, found.last_mut()) {
            // Lone punctuation ("really ?") still shapes the sentence, so it joins the word before it.
            last.spoken.extend(spoken.chars().filter(|c| ".,:;?!".contains(*c)));
        }
    }
    found
}

/// `written` in visible ASCII: typographic marks and accented Latin letters become what they stand for, the rest goes.
fn fold(written: &str) -> String {
    let mut spoken = String::with_capacity(written.len());
    for c in written.chars() {
        if c.is_ascii_graphic() {
            spoken.push(c);
        } else {
            spoken.push_str(ascii_of(c));
        }
    }
    spoken
}

/// How a character outside ASCII is said, empty where it is not.
fn ascii_of(c: char) -> &'static str {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{02BC}' | '\u{2032}' => "'",
        '\u{201C}' | '\u{201D}' | '\u{201E}' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        '\u{2026}' => "...",
        '。' => ".",
        '、' | ',' => ",",
        '!' | '¡' => "!",
        '?' | '¿' => "?",
        'À'..='Å' | 'Ā' | 'Ă' | 'Ą' => "A",
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'Æ' => "AE",
        'æ' => "ae",
        'Ç' | 'Ć' | 'Ĉ' | 'Ċ' | 'Č' => "C",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'Ð' | 'Ď' | 'Đ' => "D",
        'ð' | 'ď' | 'đ' => "d",
        'È'..='Ë' | 'Ē' | 'Ė' | 'Ę' | 'Ě' => "E",
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'Ğ' | 'Ģ' => "G",
        'ğ' | 'ģ' => "g",
        'Ì'..='Ï' | 'Ī' | 'Į' | 'İ' => "I",
        'ì'..='ï' | 'ī' | 'į' | 'ı' => "i",
        'Ł' | 'Ľ' | 'Ļ' => "L",
        'ł' | 'ľ' | 'ļ' => "l",
        'Ñ' | 'Ń' | 'Ň' | 'Ņ' => "N",
        'ñ' | 'ń' | 'ň' | 'ņ' => "n",
        'Ò'..='Ö' | 'Ø' | 'Ō' | 'Ő' => "O",
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => "o",
        'Œ' => "OE",
        'œ' => "oe",
        'Ř' => "R",
        'ř' => "r",
        'Ś' | 'Š' | 'Ş' | 'Ș' => "S",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ß' => "ss",
        'Ť' | 'Ț' => "T",
        'ť' | 'ț' => "t",
        'Þ' => "Th",
        'þ' => "th",
        'Ù'..='Ü' | 'Ū' | 'Ů' | 'Ű' => "U",
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => "u",
        'Ý' | 'Ÿ' => "Y",
        'ý' | 'ÿ' => "y",
        'Ź' | 'Ż' | 'Ž' => "Z",
        'ź' | 'ż' | 'ž' => "z",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(text: &str) -> Vec<String> {
        tokens(text).into_iter().map(|token| token.spoken).collect()
    }

    #[test]
    fn accents_and_typographic_marks_become_ascii() {
        assert_eq!(spoken("“Zoë’s café—naïve…”"), ["\"Zoe's", "cafe-naive...\""]);
    }

    #[test]
    fn what_nobody_can_say_is_left_out_and_what_is_written_stays() {
        let found = tokens("Hi 👋 there\u{a0}you — 日本語 ok🙂");
        let written: Vec<_> = found.iter().map(|token| token.written).collect();
        assert_eq!(written, ["Hi", "there", "you", "ok🙂"]);
        assert_eq!(spoken("... !? —"), Vec::<String>::new());
    }

    #[test]
    fn lone_punctuation_joins_the_word_before_it() {
        assert_eq!(spoken("really ? yes"), ["really?", "yes"]);
    }

    #[test]
    fn a_blank_line_is_remembered() {
        let paragraphs: Vec<_> = tokens("one\ntwo\n\nthree").into_iter().map(|token| token.paragraph).collect();
        assert_eq!(paragraphs, [false, false, true]);
    }
}
