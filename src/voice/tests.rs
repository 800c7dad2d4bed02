use super::*;

const PARAGRAPH: &str = "Dr. Smith, at 5 p.m. on 12/03 you owe $1,250.75 (about 30%)! Call 555-1234, or write to \
    \"Mrs. O'Neill\" of the U.S.A. today; it's well-known. Really? Yes: room 42B, 3rd floor\n\nThat is all.";

fn pool() -> Pool {
    Pool::new(Settings { workers: 2, waiting_max: 8 })
}

/// Checks what every utterance promises and gives back the words' texts.
fn checked(utterance: &Utterance, input: &str) -> Vec<String> {
    assert_eq!(utterance.rate, RATE);
    let length_ms = u32::try_from(utterance.pcm.len() as u64 * 1_000 / u64::from(RATE)).unwrap();
    let (mut before, mut rest) = (0, input);
    for word in &utterance.words {
        assert!(word.start_ms >= before, "{word:?} starts before {before}");
        assert!(word.end_ms >= word.start_ms && word.end_ms <= length_ms, "{word:?} of {length_ms} ms");
        before = word.end_ms;
        let at = rest.find(&word.text).unwrap_or_else(|| panic!("{word:?} is not in the rest of the input"));
        rest = &rest[at + word.text.len()..];
    }
    utterance.words.iter().map(|word| word.text.clone()).collect()
}

#[tokio::test]
async fn every_word_of_a_paragraph_has_its_time_and_its_written_form() {
    let utterance = pool().synthesize(PARAGRAPH, None).await.unwrap();
    let written: Vec<_> = PARAGRAPH.split_whitespace().map(str::to_owned).collect();
    assert_eq!(checked(&utterance, PARAGRAPH), written);
    // A word takes time, and nearly all of the audio belongs to words.
    assert!(utterance.words.iter().all(|word| word.end_ms > word.start_ms));
    let spoken: u32 = utterance.words.iter().map(|word| word.end_ms - word.start_ms).sum();
    let length_ms = u32::try_from(utterance.pcm.len() / 16).unwrap();
    assert!(spoken * 10 > length_ms * 6, "{spoken} of {length_ms} ms");
}

#[tokio::test]
async fn the_word_times_are_those_of_the_sound() {
    // Between two sentences the voice is silent: the words' edges must be where the silence begins and ends.
    let utterance = pool().synthesize("Stop. Go on.", None).await.unwrap();
    let (stop, go) = (&utterance.words[0], &utterance.words[1]);
    let loudness = |from_ms: u32, to_ms: u32| {
        let samples = &utterance.pcm[from_ms as usize * 16..to_ms as usize * 16];
        samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64
    };
    let inside = loudness(stop.start_ms, stop.end_ms).min(loudness(go.start_ms, go.end_ms));
    let between = loudness(stop.end_ms + 30, go.start_ms - 30);
    assert!(go.start_ms > stop.end_ms + 100);
    assert!(between * 50.0 < inside, "{between} between, {inside} inside");
}

#[tokio::test]
async fn a_number_comes_back_as_it_was_written() {
    let utterance = pool().synthesize("Press 5 now", None).await.unwrap();
    assert_eq!(checked(&utterance, "Press 5 now"), ["Press", "5", "now"]);
}

#[tokio::test]
async fn two_sentences_stream_in_fixed_pieces_that_join_to_the_whole() {
    let text = "The first sentence is here. And the second one follows.";
    let utterance = pool().synthesize(text, None).await.unwrap();
    assert_eq!(checked(&utterance, text).len(), 10);
    let pieces: Vec<Bytes> = chunks(&utterance).collect();
    let (last, whole) = pieces.split_last().unwrap();
    assert!(whole.len() > 20 && whole.iter().all(|piece| piece.len() == 1_600));
    assert!(!last.is_empty() && last.len() <= 1_600);
    let mut expected = Vec::new();
    pcm::write_into(&utterance.pcm, &mut expected);
    assert!(pieces.concat() == expected, "the pieces do not join to the samples");
}

#[tokio::test]
async fn faster_speech_is_shorter() {
    let length = async |speed| pool().synthesize("How are you today?", speed).await.unwrap().pcm.len();
    let (slow, normal, fast) = (length(Some(0.5)).await, length(None).await, length(Some(2.0)).await);
    assert!(slow > normal * 3 / 2 && fast * 3 / 2 < normal, "{slow} {normal} {fast}");
    assert_eq!(length(Some(f32::NAN)).await, normal);
    assert_eq!(length(Some(1.0)).await, normal);
}

#[tokio::test]
async fn what_cannot_be_said_is_silence_and_not_an_error() {
    for text in ["", "   \n\t ", "... !? — ;", "👋🏽🙂", "日本語", "\u{0}\u{7}\u{200d}\u{feff}", "\"", "((("]
    {
        let utterance = pool().synthesize(text, None).await.unwrap();
        assert!(utterance.words.is_empty(), "{text:?}: {:?}", utterance.words);
        assert!(utterance.pcm.is_empty(), "{text:?}: {} samples", utterance.pcm.len());
        assert_eq!(chunks(&utterance).count(), 0);
    }
    let mixed = "Hello 👋 Zoë’s “naïve” café — 日本語 ok🙂";
    let utterance = pool().synthesize(mixed, None).await.unwrap();
    assert_eq!(checked(&utterance, mixed), ["Hello", "Zoë’s", "“naïve”", "café", "ok🙂"]);
}

#[tokio::test]
async fn text_of_the_greatest_length_is_spoken_and_one_more_is_refused() {
    let long = "word ".repeat(400);
    let utterance = pool().synthesize(&long, None).await.unwrap();
    assert_eq!(checked(&utterance, &long).len(), 400);
    let unbroken = "x".repeat(TEXT_CHARS_MAX);
    assert!(!pool().synthesize(&unbroken, None).await.unwrap().pcm.is_empty());
    let error = pool().synthesize(&"é".repeat(2_001), None).await.unwrap_err();
    assert_eq!(error, VoiceError::TextLong { chars: 2_001 });
}

#[tokio::test]
async fn random_text_never_breaks_the_engine() {
    let pool = pool();
    // A fixed linear congruential sequence: the same texts in every run.
    let mut state: u32 = 7;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let pieces = [
        "a", "I", "Dr", "St", "5", "00", "1984", "12:30", "$", "%", "-", ".", ",", "'", "\"", "(", "[", "/", "\\", "#",
        "&", "é", "ß", "XIV", "read", "www", "am", "th", "s", "zz", "Q", " ", " ", " ", "\n\n", "?", "!", ":", "~",
        "^", "1,000", "3.14", "1e5", "9-9", "`", "{", "*", "=", "+", "@", "_", "<b>", "NASA", "\u{301}", "…",
    ];
    for _ in 0..600 {
        let count = 1 + next(40);
        let text: String = (0..count).map(|_| pieces[next(pieces.len())]).collect();
        let utterance = pool.synthesize(&text, None).await.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        checked(&utterance, &text);
    }
}

#[tokio::test]
async fn a_full_pool_refuses_at_once_and_recovers() {
    let pool = Pool::new(Settings { workers: 1, waiting_max: 1 });
    let worker = Arc::clone(&pool.workers).acquire_owned().await.unwrap();
    let place = Arc::clone(&pool.places).try_acquire_owned().unwrap();
    let waiting = {
        let pool = pool.clone();
        async move { pool.synthesize("I waited.", None).await }
    };
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_eq!(pool.synthesize("Too late.", None).await.unwrap_err(), VoiceError::Busy);
    drop((worker, place));
    assert_eq!(waiting.await.unwrap().words.len(), 2);
    assert_eq!(pool.synthesize("Free again.", None).await.unwrap().words.len(), 2);
}

#[tokio::test]
async fn a_caller_who_gives_up_frees_the_place() {
    let pool = Pool::new(Settings { workers: 1, waiting_max: 0 });
    let worker = Arc::clone(&pool.workers).acquire_owned().await.unwrap();
    {
        let waiting = pool.synthesize("Never mind.", None);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    drop(worker);
    assert!(pool.synthesize("Next.", None).await.is_ok());
}

#[tokio::test]
async fn a_panic_inside_the_engine_costs_one_utterance_only() {
    let pool = Pool::new(Settings { workers: 1, waiting_max: 0 });
    assert_eq!(pool.run(|| panic!("a bug of the engine")).await.unwrap_err(), VoiceError::Engine);
    assert!(pool.synthesize("Still here.", None).await.is_ok());
}
