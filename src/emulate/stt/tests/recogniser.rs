//! The recogniser alone: any place of any clip, and nothing else.

use std::sync::LazyLock;

use super::super::input::{Input, InputFormat};
use super::super::recogniser::{Library, Recogniser, Word};
use super::super::script::Script;
use super::*;

fn recogniser(latency: u64) -> Recogniser {
    static LIBRARY: LazyLock<Arc<Library>> = LazyLock::new(|| Arc::new(Library::new(Script::built_in().unwrap())));
    Recogniser::new(Arc::clone(&LIBRARY), latency)
}

/// Everything that is known after `audio`, which comes in pieces of `size`.
fn heard(ear: &mut Recogniser, audio: &[u8], size: usize) -> Vec<Word> {
    let mut words = Vec::new();
    for piece in Input::new(InputFormat::Mulaw).mulaw(audio).chunks(size) {
        ear.hear(piece);
        words.extend(ear.take_known());
    }
    words
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

/// The words of a clip that end after `offset`, and where they lie in a stream that begins there.
fn expected(clip: &ScriptClip, offset: usize) -> Vec<Word> {
    let place = |ms: u32| (u64::from(ms) * 8).saturating_sub(offset as u64);
    let after = clip.words.iter().filter(|word| word.end_ms as usize * 8 > offset);
    after.map(|word| Word { text: word.text.clone(), start: place(word.start_ms), end: place(word.end_ms) }).collect()
}

#[test]
fn a_stream_may_join_a_clip_anywhere() {
    let script = Script::built_in().unwrap();
    let mut joined = 0;
    for clip in script.clips() {
        let audio = raw(&clip.name);
        let speech_end = clip.words.last().unwrap().end_ms as usize * 8;
        // Around every frame of 20 ms: on one of three, inside the others. Where less than a tenth of a second of speech is left, there
        // may be too little to find.
        for offset in (0..speech_end - 800).step_by(160).map(|frame| frame + frame / 160 % 3 * 53) {
            let mut ear = recogniser(0);
            let stream = [&audio[offset..], &[0xFF; 800][..]].concat();
            assert_eq!(heard(&mut ear, &stream, 160), expected(clip, offset), "{} from {offset}", clip.name);
            joined += 1;
        }
    }
    assert!(joined > 900, "{joined}");
}

#[test]
fn the_size_of_the_pieces_changes_nothing() {
    let audio = [raw("question.wav"), vec![0xFF; 4_000], raw("digits.wav"), vec![0xFF; 4_000]].concat();
    let whole = heard(&mut recogniser(1_600), &audio, audio.len());
    assert_eq!(texts(&whole).join(" "), format!("{QUESTION} Four. One. Seven. Zero."));
    for size in [1, 79, 160, 640, 8_000] {
        assert_eq!(heard(&mut recogniser(1_600), &audio, size), whole, "{size}");
    }
}

#[test]
fn two_clips_are_told_apart_and_noise_says_nothing() {
    let noise = noise(24_000, 1);
    let audio = [&noise[..], &raw("no.wav"), &noise[..8_000], &raw("thank-you.wav"), &raw("no.wav"), &noise].concat();
    let mut ear = recogniser(0);
    assert_eq!(texts(&heard(&mut ear, &audio, 160)), ["No.", "Thank", "you.", "No."]);
    assert_eq!(texts(&heard(&mut recogniser(0), &noise, 160)), [""; 0]);
    let tone: Vec<u8> = (0..16_000).map(|n| [0xFF, 0xAA, 0x9F, 0xAA, 0xFF, 0x2A, 0x1F, 0x2A][n % 8]).collect();
    assert_eq!(texts(&heard(&mut recogniser(0), &tone, 160)), [""; 0]);
}

#[test]
fn a_word_is_known_when_its_end_and_the_latency_have_come() {
    let audio = raw("no.wav");
    let mut ear = recogniser(1_600);
    let end = 700 * 8;
    assert_eq!(heard(&mut ear, &audio[..end], 80), []);
    assert!(!ear.is_settled() && !ear.is_speaking() && ear.quiet() == Some(0));
    assert_eq!(heard(&mut ear, &audio[end..], 80), []);
    let left = end + 1_600 - audio.len();
    assert_eq!(heard(&mut ear, &[0xFF; 4_000][..left - 1], 1), []);
    let word = Word { text: "No.".to_owned(), start: 170 * 8, end: 700 * 8 };
    assert_eq!(heard(&mut ear, &[0xFF], 1), vec![word.clone()]);
    assert!(ear.is_settled() && ear.quiet() == Some(1_600));

    let mut ear = recogniser(1_600);
    heard(&mut ear, &audio, 80);
    assert_eq!((ear.flush(), ear.flush()), (vec![word], vec![]));
}

#[test]
fn a_clip_that_is_left_ends_there_and_speech_with_it() {
    let audio = raw("statement.wav");
    // In the middle of "not".
    let at = 1_050 * 8;
    let mut ear = recogniser(0);
    let mut words = heard(&mut ear, &audio[..at], 160);
    assert!(ear.is_speaking() && ear.quiet().is_none());
    words.extend(heard(&mut ear, &[0xFF; 16_000], 160));
    assert_eq!(texts(&words), ["I'm", "sorry,", "I", "did"]);
    assert!(!ear.is_speaking());
    assert!((15_900..=16_000).contains(&ear.quiet().unwrap()), "{:?}", ear.quiet());
    // A second later it goes on: the word that was cut counts from where it is joined.
    assert_eq!(texts(&heard(&mut ear, &audio[at..], 160)), ["not", "understand", "your", "response."]);
}

#[test]
fn lost_and_doubled_frames_take_no_word_away_and_say_none_twice() {
    let audio = raw("long.wav");
    for at in (0..audio.len() - 1_600).step_by(160) {
        for (resume, what) in [(at + 160, "lost"), (at.saturating_sub(160), "doubled")] {
            let stream = [&audio[..at], &audio[resume..], &[0xFF; 800]].concat();
            let words = heard(&mut recogniser(0), &stream, 160);
            assert_eq!(texts(&words).join(" "), LONG, "{what} at {at}");
        }
    }
}

#[test]
fn linear_samples_are_compared_as_well() {
    let linear: Vec<u8> = {
        let (mut samples, mut bytes) = (Vec::new(), Vec::new());
        g711::decode_mulaw_into(&raw("question.wav"), &mut samples);
        pcm::write_into(&samples, &mut bytes);
        bytes
    };
    let mut input = Input::new(InputFormat::S16);
    let mut ear = recogniser(0);
    for piece in linear.chunks(333) {
        ear.hear(&input.mulaw(piece));
    }
    assert_eq!(texts(&ear.take_known()).join(" "), QUESTION);
    let found = ear.take_found().unwrap();
    assert_eq!((found.clip.as_str(), found.clip_ms), ("question.wav", 0));
    assert!(ear.take_found().is_none());
}
