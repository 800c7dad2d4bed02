//! What is spoken of what is written, and the way back.

use proptest::prelude::*;

use super::{Piece, Rest, Scribe, sentence};
use crate::call::settings::{Buffering, Text};

/// Everything at once.
fn read(text: &str) -> Piece {
    read_by(Text::default(), &[text])
}

fn read_by(rules: Text, tokens: &[&str]) -> Piece {
    let (mut scribe, mut piece) = (Scribe::new(rules, Buffering::Gateway), Piece::default());
    for token in tokens {
        scribe.push(token, &mut piece);
    }
    scribe.settle(&mut piece);
    piece
}

/// Checks that each text is spoken as told, be it read at once or character by character, and that nothing of it is lost.
fn check(cases: &[(&str, &str)]) {
    for (written, spoken) in cases {
        let piece = read(written);
        assert_eq!(piece.spoken(), *spoken, "{written:?}");
        assert_eq!(piece.written(), *written);
        let mut buffer = [0; 4];
        let (mut scribe, mut piece) = (Scribe::new(Text::default(), Buffering::Gateway), Piece::default());
        for c in written.chars() {
            scribe.push(c.encode_utf8(&mut buffer), &mut piece);
        }
        scribe.settle(&mut piece);
        assert_eq!(piece.spoken(), *spoken, "{written:?} by characters");
        assert_eq!(piece.written(), *written);
    }
}

/// Checks that texts are spoken as they were written.
fn check_same(texts: &[&str]) {
    for text in texts {
        check(&[(text, text)]);
    }
}

#[test]
fn emphasis_is_left_out() {
    check(&[
        ("This is **bold** and *light*.", "This is bold and light."),
        ("__Note:__ read _this_ ~~not that~~.", "Note: read this not that."),
        ("***Both*** and **bold with *light* in it**.", "Both and bold with light in it."),
        ("A (**bracketed**) word.", "A (bracketed) word."),
        ("**Over. Two sentences.** Next.", "Over. Two sentences. Next."),
    ]);
    check_same(&[
        "5 * 3 * 2 is 30.",
        "2*3*4 and 2**3.",
        "Press * or #.",
        "Press *9 or *8 now.",
        "Dial *67* first.",
        "snake_case_name stays.",
        "An **unfinished thought",
        "What the f*** is that?",
        "Terms apply*.",
    ]);
}

#[test]
fn lines_have_no_marks_at_their_head_and_end_like_sentences() {
    check(&[
        ("# Title\n\nText here.", "Title.\n\nText here."),
        ("### Why?\nBecause.", "Why?\nBecause."),
        ("We have:\n- apples\n- **pears**\n* plums\n", "We have:\napples.\npears.\nplums.\n"),
        ("1. Open the box\n2. Close it.\n", "1. Open the box.\n2. Close it.\n"),
        ("- [ ] to do\n- [x] done\n", "to do.\ndone.\n"),
        ("  - nested  \nText", "  nested.  \nText"),
        ("> Quoted words.\n> > Twice.", "Quoted words.\nTwice."),
        ("Above\n---\nBelow\n* * *\nEnd", "Above\n\nBelow\n\nEnd"),
        ("| Day | Hours |\n|-----|:-----:|\n| Monday | 9 to 5 |\n", "Day, Hours.\n\nMonday, 9 to 5.\n"),
        ("✅ Ready\nText", "Ready.\nText"),
    ]);
    check_same(&[
        "-5 degrees outside.",
        " -- ",
        "#1a",
        "a\n5 apples",
        "(+ - =)",
        "3 > 2 is true.",
        "One line\nand the next.",
    ]);
}

#[test]
fn code_is_said_within_a_line_and_left_out_in_blocks() {
    check(&[
        ("Run `cargo *test*` now.", "Run cargo *test* now."),
        ("Use ``a`b`` here.", "Use a`b here."),
        ("Look:\n```rust\nfn main() {}\n\nlet x = \"# no\";\n```\nDone.", "Look:\nDone."),
        ("Look:\n~~~\na\n```\n~~~\nDone.", "Look:\nDone."),
        ("Never closed:\n```\nall of it", "Never closed:\n"),
        ("A \\*star\\* and \\# sign.", "A *star* and # sign."),
    ]);
    check_same(&["A lone ` mark.", "C:\\path\\file"]);
}

#[test]
fn links_are_their_text() {
    check(&[
        ("See [our *site*](https://example.com/a_(b)?c \"Title\") now.", "See our site now."),
        ("![A red house](house.png) above.", "A red house above."),
        ("[![logo](l.png)](https://example.com)", "logo"),
        ("[https://www.example.com](https://www.example.com/x)", "example dot com"),
        ("<https://example.com/a> it is.", "example dot com it is."),
    ]);
    check_same(&["An [aside] (really).", "See [1] and [2].", "f[x]", "[unfinished"]);
}

#[test]
fn tags_are_the_voices_own() {
    check_same(&[
        "Wait <break time=\"1s\"/> now.",
        "It is <spell>AB12345</spell>.",
        "<say-as interpret-as=\"digits\">123456</say-as>",
        "a < b and c > d",
        "I <3 you",
        "<emotion value=\"calm\"> hello *",
        "Less <",
    ]);
}

#[test]
fn of_an_address_the_host_is_said() {
    check(&[
        ("https://www.example.com/a/b?x=1", "example dot com"),
        ("See www.example.com for more.", "See example dot com for more."),
        ("Go to https://shop.example.co.uk/a_(b), then pay.", "Go to shop dot example dot co dot uk, then pay."),
        ("(http://user@example.com:8080/x).", "(example dot com)."),
        ("Is it www.example.com? Yes.", "Is it example dot com? Yes."),
        ("**https://example.com/a**!", "example dot com!"),
        ("Write to jane.doe+x@mail.example.com.", "Write to jane dot doe plus x at mail dot example dot com."),
        ("mailto:jane@example.com", "jane at example dot com"),
        ("j_d-1@example.org", "j underscore d dash 1 at example dot org"),
    ]);
    check_same(&[
        "A file.name here.",
        "me @ home",
        "@handle says",
        "wwwhat",
        "e.g. this",
        "http://",
        "a@b",
        "half-way.",
    ]);
    let mut scribe = Scribe::new(Text::default(), Buffering::Gateway);
    scribe.set_language(Some("de-DE"));
    let mut piece = Piece::default();
    scribe.push("Siehe https://example.de/a & mehr **hier**.", &mut piece);
    scribe.settle(&mut piece);
    assert_eq!(piece.spoken(), "Siehe https://example.de/a & mehr hier.");
}

#[test]
fn pictures_are_left_out() {
    check(&[
        ("Great 😀 job!", "Great job!"),
        ("Great! 😀", "Great! "),
        ("👨‍👩‍👧‍👦 family, 👍🏽 thumb, 🇩🇪 flag.", "family, thumb, flag."),
        ("I ❤️ it.", "I it."),
        ("Key 1️⃣ now", "Key 1 now"),
    ]);
    check_same(&["Brand™ © 2024 ®", "ℹ info", "नमस्ते क्‍ष", "你好。"]);
}

#[test]
fn names_that_are_numbers_are_said_digit_by_digit() {
    check(&[
        ("Call +1 (555) 010-0123 now.", "Call plus 1, 5 5 5, 0 1 0, 0 1 2 3 now."),
        ("It is 555-0100.", "It is 5 5 5, 0 1 0 0."),
        ("Dial (555) 234-5678, please.", "Dial 5 5 5, 2 3 4, 5 6 7 8, please."),
        ("1-800-555-0199", "1, 8 0 0, 5 5 5, 0 1 9 9"),
        ("Call us at 555-1234.", "Call us at 5 5 5, 1 2 3 4."),
        ("+4930123456", "plus 4 9 3 0 1 2 3 4 5 6"),
        ("The id is 48213.", "The id is 4 8 2 1 3."),
        ("Your PIN is 1234.", "Your PIN is 1 2 3 4."),
        ("confirmation code AB12C", "confirmation code A B 1 2 C"),
        ("Confirmation code: **X7-42Z**!", "Confirmation code: X 7, 4 2 Z!"),
        ("Card 4242 4242 4242 4242.", "Card 4 2 4 2, 4 2 4 2, 4 2 4 2, 4 2 4 2."),
        ("order #12345 is ready", "order 1 2 3 4 5 is ready"),
        ("We are #1 there", "We are number 1 there"),
    ]);
    check_same(&[
        "In 2024 we sold 10000 and 1,234,567.",
        "It costs $12345 or 12345,50 or 12345.50 or 12345%.",
        "On 2026-11-21 at 10:30, or 12/05/2026.",
        "Version 1.2.3 at 192.168.10.100.",
        "A range of 100-1500 people.",
        "12345 people came and 10 000 000 left.",
        "The 12345th one, B2B and A4.",
        "Press #1 now.",
        "We talk 5 times 12 is 60.",
        "The code word is SUNSHINE.",
        "Flight number BA is late.",
        "Pi is 3.14159265.",
        "A number 5000 large.",
    ]);
}

#[test]
fn signs_are_said_where_that_is_sure() {
    check(&[("You & me.", "You and me."), ("Settings → Privacy -> On => done.", "Settings , Privacy , On , done.")]);
    check_same(&["AT&T and R&D", "a->b", "x = y - z", "50% off", "&"]);
}

#[test]
fn each_rule_can_be_turned_off() {
    let text = "**a** 😀 https://example.com & 555-0100";
    let on = Text::default();
    let cases = [
        (Text { markdown: false, ..on }, "**a** example dot com and 5 5 5, 0 1 0 0"),
        (Text { emoji: false, ..on }, "a 😀 example dot com and 5 5 5, 0 1 0 0"),
        (Text { urls: false, ..on }, "a https://example.com and 5 5 5, 0 1 0 0"),
        (Text { digits: false, ..on }, "a example dot com and 555-0100"),
        (Text { symbols: false, ..on }, "a example dot com & 5 5 5, 0 1 0 0"),
        (Text::VERBATIM, text),
    ];
    for (rules, spoken) in cases {
        assert_eq!(read_by(rules, &[text]).spoken(), spoken);
    }
}

#[test]
fn what_is_held_back_is_bounded() {
    let (mut scribe, mut piece) = (Scribe::new(Text::default(), Buffering::Gateway), Piece::default());
    scribe.push("Look: [a ", &mut piece);
    assert_eq!(piece.spoken(), "Look: ");
    scribe.push(&"word ".repeat(60), &mut piece);
    assert!(piece.spoken().len() > 300, "{}", piece.spoken());
    // A block of code is removed as it comes, however long it is.
    let (mut scribe, mut piece) = (Scribe::new(Text::default(), Buffering::Gateway), Piece::default());
    scribe.push("```\n", &mut piece);
    scribe.push(&"let x = 1;\n".repeat(100), &mut piece);
    assert_eq!((piece.spoken(), piece.written().len()), ("", 1_104));
}

#[test]
fn a_vendor_that_gathers_text_has_the_end_of_a_sentence_at_once() {
    let vendor = Buffering::Vendor { max_delay: std::time::Duration::from_secs(1) };
    for (token, spoken) in [("Let me look.", "Let me look."), ("Sure!", "Sure!"), ("Hel", "Hel"), ("a jane.d", "a ")] {
        let (mut scribe, mut piece) = (Scribe::new(Text::default(), vendor), Piece::default());
        scribe.push(token, &mut piece);
        assert_eq!(piece.spoken(), spoken);
    }
}

#[test]
fn a_sentence_is_closed_before_its_white_space() {
    for (text, closed) in [
        ("Goodbye", "Goodbye."),
        ("Goodbye \n", "Goodbye. \n"),
        ("Really?", "Really?"),
        ("**Bye**", "Bye."),
        ("你好", "你好"),
        ("", ""),
        (" -- ", " -- "),
    ] {
        let mut piece = read(text);
        piece.close();
        assert_eq!((piece.spoken(), piece.written()), (closed, text));
        assert_eq!(piece.heard(piece.spoken().trim_end().len()), text.trim_end().len());
    }
}

#[test]
fn heard_text_is_the_agents_own() {
    let heard = |written: &str, spoken: &str| {
        let piece = read(written);
        assert!(piece.spoken().starts_with(spoken), "{:?}", piece.spoken());
        piece.written()[..piece.heard(spoken.len())].to_owned()
    };
    assert_eq!(heard("Say **this loud** now", "Say"), "Say");
    assert_eq!(heard("Say **this loud** now", "Say this"), "Say **this");
    assert_eq!(heard("Say **this loud** now", "Say this loud"), "Say **this loud**");
    assert_eq!(heard("Great 😀 job", "Great"), "Great 😀 ");
    assert_eq!(heard("😀 Great job", ""), "");
    assert_eq!(heard("😀 Great job", "Great"), "😀 Great");
    assert_eq!(heard("Call 555-0100 now", "Call 5 5 5, 0 1 0"), "Call");
    assert_eq!(heard("Call 555-0100 now", "Call 5 5 5, 0 1 0 0"), "Call 555-0100");
    assert_eq!(heard("- one\n- two", "one."), "- one");
    assert_eq!(heard("See [this](http://a.b/c) too", "See this"), "See [this](http://a.b/c)");
    assert_eq!(heard("Mail **a.b@example.com**", "Mail a dot b"), "Mail");
}

#[test]
fn an_address_whose_beginning_is_out_is_heard_as_a_whole() {
    let piece = read_by(Text::default(), &["Mail ja", "ne.doe@ex", "ample.com now"]);
    assert_eq!(piece.spoken(), "Mail jane dot doe at example dot com now");
    assert_eq!(piece.heard("Mail jane dot doe".len()), "Mail".len());
    assert_eq!(piece.heard("Mail jane dot doe at example dot com".len()), "Mail jane.doe@example.com".len());
}

/// Text of the kind that agents write, with much that is nearly a construct.
pub(in crate::call) fn writing() -> impl Strategy<Value = String> {
    const PARTS: [&str; 62] = [
        "word",
        "Two",
        "é",
        "你好",
        "。",
        " ",
        " ",
        " ",
        " ",
        " ",
        "  ",
        "\n",
        "\n\n",
        ". ",
        ", ",
        "! ",
        "? ",
        ": ",
        "**",
        "**",
        "*",
        "_",
        "__",
        "~~",
        "`",
        "```",
        "```rs\n",
        "\n```\n",
        "# ",
        "\n- ",
        "\n* ",
        "1. ",
        "> ",
        "| ",
        " | ",
        "|---|",
        "---",
        "[",
        "](",
        ")",
        "](https://a.bc/d)",
        "![",
        "(",
        "https://",
        "www.",
        "example.com",
        "/path?q=1",
        "@",
        "jane.doe",
        "555-0100",
        "+1 (555) 010-0123",
        "12345",
        "2024",
        "code ",
        "AB12C",
        "#",
        "😀",
        "👍🏽",
        "<break/>",
        "<",
        "&",
        "→",
    ];
    let part = prop_oneof![
        9 => prop::sample::select(PARTS.to_vec()).prop_map(str::to_owned),
        1 => "[ -~\\n]{1,4}",
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Cuts `text` at the given places, as tokens are cut.
pub(in crate::call) fn tokens<'t>(text: &'t str, cuts: &[prop::sample::Index]) -> Vec<&'t str> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.retain(|at| text.is_char_boundary(*at));
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

pub(in crate::call) fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_do_not_change_what_is_spoken(text in writing(), cuts in cuts()) {
        let whole = read(&text);
        let by_tokens = read_by(Text::default(), &tokens(&text, &cuts));
        prop_assert_eq!(by_tokens.spoken(), whole.spoken());
        prop_assert_eq!(by_tokens.written(), &text);
        prop_assert_eq!(whole.written(), &text);
    }

    #[test]
    fn sentences_are_the_whole_in_order(text in writing(), cuts in cuts()) {
        let (mut scribe, mut waiting) = (Scribe::new(Text::default(), Buffering::Gateway), Piece::default());
        let mut pieces = Vec::new();
        let tokens = tokens(&text, &cuts);
        for (at, token) in tokens.iter().enumerate() {
            scribe.push(token, &mut waiting);
            let rest = if at + 1 == tokens.len() { Rest::Complete } else { Rest::Open };
            if rest == Rest::Complete {
                scribe.settle(&mut waiting);
            }
            while let Some(length) = sentence(waiting.spoken(), pieces.is_empty(), rest) {
                pieces.push(waiting.take(length));
            }
        }
        let (mut written, mut spoken, mut joined) = (String::new(), String::new(), Piece::default());
        for piece in pieces.iter().chain([&waiting]) {
            written.push_str(piece.written());
            spoken.push_str(piece.spoken());
            joined.append(piece);
        }
        let whole = read(&text);
        prop_assert_eq!(written, text);
        prop_assert_eq!(spoken, whole.spoken());
        for end in ends(whole.spoken()) {
            prop_assert_eq!(joined.heard(end), whole.heard(end));
        }
    }

    #[test]
    fn what_is_heard_grows_from_nothing_to_the_whole(text in writing()) {
        let piece = read(&text);
        let mut last = 0;
        for end in ends(piece.spoken()) {
            let heard = piece.heard(end);
            prop_assert!(text.is_char_boundary(heard) && heard >= last, "{} after {} at {}", heard, last, end);
            last = heard;
        }
        prop_assert_eq!(piece.heard(0), 0);
    }

    #[test]
    fn what_is_cut_off_and_put_back_is_the_same(text in writing(), at in any::<prop::sample::Index>()) {
        let whole = read(&text);
        let at = whole.whole_words(at.index(whole.spoken().len() + 1));
        if whole.spoken().is_char_boundary(at) {
            let mut head = whole.clone();
            let tail = head.split_off(at);
            prop_assert_eq!(head.spoken().len(), at.min(whole.spoken().len()));
            head.append(&tail);
            prop_assert_eq!(head, whole);
        }
    }
}

/// Where words end in a spoken text, and where marks behind them do.
fn ends(spoken: &str) -> Vec<usize> {
    let is_end = |at: &usize| {
        let (before, after) = (spoken[..*at].chars().next_back(), spoken[*at..].chars().next());
        before.is_some_and(|c| !c.is_whitespace()) && after.is_none_or(|c| !c.is_alphanumeric())
    };
    (1..=spoken.len()).filter(|at| spoken.is_char_boundary(*at)).filter(is_end).collect()
}
