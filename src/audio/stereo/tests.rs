use super::*;

const MS: u64 = 8;

fn at(ms: u64) -> CallTime {
    CallTime::from_millis(ms)
}

fn linear() -> MediaFormat {
    MediaFormat { encoding: Encoding::PcmS16Le, ..MediaFormat::TELEPHONE }
}

fn mixer() -> Mixer {
    Mixer::new(linear(), Some(linear())).unwrap()
}

/// Samples as the wire carries them.
fn bytes(samples: impl IntoIterator<Item = i16>) -> Vec<u8> {
    samples.into_iter().flat_map(i16::to_le_bytes).collect()
}

/// 20 ms of one value.
fn frame(value: i16) -> Vec<u8> {
    bytes([value; 160])
}

/// Both sides from the beginning to the end.
fn sides(mut mixer: Mixer, end: CallTime) -> (Vec<i16>, Vec<i16>) {
    mixer.end(end);
    let mut mixed = Vec::new();
    while mixer.give(&mut mixed) {}
    (mixed.iter().copied().step_by(2).collect(), mixed.iter().copied().skip(1).step_by(2).collect())
}

/// Runs of equal samples: their value and length in milliseconds.
fn runs(samples: &[i16]) -> Vec<(i16, usize)> {
    let runs = samples.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() / MS as usize));
    runs.filter(|(_, ms)| *ms > 0).collect()
}

#[test]
fn frames_that_are_sent_ahead_are_heard_one_after_the_other_and_late_ones_late() {
    let mut mixer = mixer();
    for value in 1..=3 {
        mixer.take(at(100), Sound::Gateway(&frame(value)));
    }
    mixer.take(at(150), Sound::Gateway(&frame(4)));
    mixer.take(at(300), Sound::Gateway(&frame(5)));
    let (caller, heard) = sides(mixer, at(400));
    assert_eq!(runs(&heard), [(0, 100), (1, 20), (2, 20), (3, 20), (4, 20), (0, 120), (5, 20), (0, 80)]);
    assert_eq!((caller.len(), caller.iter().all(|sample| *sample == 0)), (3_200, true));
}

#[test]
fn what_a_clear_flushed_is_not_heard() {
    let mut mixer = mixer();
    for value in 1..=10 {
        mixer.take(at(0), Sound::Gateway(&frame(value)));
    }
    mixer.take(at(50), Sound::Clear { held: Duration::from_millis(150) });
    mixer.take(at(90), Sound::Gateway(&frame(11)));
    let (_, heard) = sides(mixer, at(200));
    assert_eq!(runs(&heard), [(1, 20), (2, 20), (3, 10), (0, 40), (11, 20), (0, 90)]);
}

#[test]
fn what_the_carrier_still_holds_by_its_marks_is_not_heard_although_its_time_has_passed() {
    let mut mixer = mixer();
    for value in 1..=5 {
        mixer.take(at(0), Sound::Gateway(&frame(value)));
    }
    // By the clock 80 ms were played, by the ledger 30.
    mixer.take(at(80), Sound::Clear { held: Duration::from_millis(70) });
    let (_, heard) = sides(mixer, at(100));
    assert_eq!(runs(&heard), [(1, 20), (2, 10), (0, 70)]);
}

#[test]
fn what_had_not_been_played_at_the_end_is_not_heard() {
    let mut mixer = mixer();
    for value in 1..=5 {
        mixer.take(at(0), Sound::Gateway(&frame(value)));
    }
    let (_, heard) = sides(mixer, at(50));
    assert_eq!(runs(&heard), [(1, 20), (2, 20), (3, 10)]);
}

#[test]
fn stamps_put_a_burst_after_a_stall_where_it_was_spoken_and_a_loss_is_silence() {
    let mut mixer = mixer();
    let mut say = |ms: u64, n: u64| {
        let stamp = Some(Duration::from_millis(n * 20));
        mixer.take(at(ms), Sound::Caller { stamp, audio: &frame(i16::try_from(n + 1).unwrap()) });
    };
    // Spoken from 100 ms on, 5 ms under way; from the third on they come all at once, and one never does.
    for (n, late) in [(0, 0), (1, 3), (2, 700), (3, 680), (4, 660), (6, 620)] {
        say(100 + n * 20 + 25 + late, n);
    }
    let (caller, _) = sides(mixer, at(1_000));
    assert_eq!(runs(&caller), [(0, 105), (1, 20), (2, 20), (3, 20), (4, 20), (5, 20), (0, 20), (7, 20), (0, 755)]);
}

#[test]
fn what_follows_a_loss_is_whole_and_in_its_place_while_the_call_goes_on() {
    for lost in [1_u64, 2, 3, 5, 50] {
        let mut mixer = mixer();
        for n in (0..50).chain(50 + lost..300) {
            let stamp = Some(Duration::from_millis(n * 20));
            mixer.take(at(100 + n * 20), Sound::Caller { stamp, audio: &frame(i16::try_from(n + 1).unwrap()) });
        }
        let (caller, _) = sides(mixer, at(7_000));
        let mut expected = vec![(0, 80)];
        expected.extend((1..=50).map(|value| (value, 20)));
        expected.push((0, usize::try_from(lost * 20).unwrap()));
        expected.extend((51 + i16::try_from(lost).unwrap()..=300).map(|value| (value, 20)));
        expected.push((0, 920));
        assert_eq!(runs(&caller), expected, "{lost} lost");
    }
}

#[test]
fn stamps_that_cannot_be_true_are_counted_over() {
    for stamps in [[0, 0, 0, 0, 0], [0, 20, 7_000_000, 7_000_020, 7_000_040], [900, 920, 0, 20, 40]] {
        let mut mixer = mixer();
        for (n, stamp) in (0..).zip(stamps) {
            let audio = frame(i16::try_from(n + 1).unwrap());
            mixer.take(at(100 + n * 20), Sound::Caller { stamp: Some(Duration::from_millis(stamp)), audio: &audio });
        }
        let (caller, _) = sides(mixer, at(300));
        assert_eq!(runs(&caller), [(0, 80), (1, 20), (2, 20), (3, 20), (4, 20), (5, 20), (0, 120)], "{stamps:?}");
    }
}

#[test]
fn without_stamps_a_caller_who_was_not_sent_for_long_lies_where_he_came() {
    let mut mixer = mixer();
    mixer.take(at(100), Sound::Caller { stamp: None, audio: &frame(1) });
    mixer.take(at(5_000), Sound::Caller { stamp: None, audio: &frame(2) });
    let (caller, _) = sides(mixer, at(6_000));
    assert_eq!(runs(&caller), [(0, 80), (1, 20), (0, 4_880), (2, 20), (0, 1_000)]);
}

/// Minutes of a caller whose carrier's clock is off by `ppm`, under jitter of up to 15 ms: how far, at worst, the sound of a
/// second lies from where it was spoken, and how many seconds were looked at.
fn drift(minutes: u64, ppm: i64, with_stamps: bool) -> (u64, u64) {
    let (mut mixer, mut mixed) = (mixer(), Vec::new());
    let on_our_clock = |us: u64| us.saturating_add_signed(us as i64 * ppm / 1_000_000);
    let (mut position, mut worst_us, mut seconds) = (0_u64, 0_u64, 0_u64);
    for n in 0..minutes * 60 * 50 {
        let came_us = on_our_clock(100_000 + n * 20_000) + 20_000 + n * 7_919 % 15_000;
        // One sample in the middle of a piece tells each second from the others.
        let mark = if n % 50 == 0 { 30_000 } else { 1 };
        let audio = bytes([1; 80].into_iter().chain([mark]).chain([1; 79]));
        let stamp = with_stamps.then(|| Duration::from_millis(n * 20));
        mixer.take(CallTime::from_micros(came_us), Sound::Caller { stamp, audio: &audio });
        mixed.clear();
        while mixer.give(&mut mixed) {}
        for sample in mixed.iter().step_by(2) {
            if *sample == 30_000 {
                worst_us = worst_us.max((position * 125).abs_diff(on_our_clock(110_000 + seconds * 1_000_000)));
                seconds += 1;
            }
            position += 1;
        }
        let held: usize = mixer.caller.waiting.iter().map(|piece| piece.samples.len()).sum();
        let laid: usize = mixer.caller.side.runs.iter().map(|run| run.samples.len()).sum();
        assert!(held + laid < 3 * 8_000 && mixer.caller.ways.len() <= 501, "memory grows: {held} {laid}");
    }
    (worst_us / 1_000, seconds)
}

#[test]
fn the_caller_stays_on_the_calls_clock_whatever_the_carriers_does() {
    for (minutes, ppm, with_stamps) in
        [(30, 300, true), (5, -300, true), (5, 300, false), (5, -300, false), (5, 0, false)]
    {
        let (worst_ms, seconds) = drift(minutes, ppm, with_stamps);
        // Left alone, a clock that is off by 300 ppm would be off by 90 ms after five minutes.
        assert!(worst_ms <= 12, "{ppm} ppm, stamps {with_stamps}: {worst_ms} ms off");
        // The last ones are not given yet.
        assert!(seconds + 4 > minutes * 60, "{ppm} ppm, stamps {with_stamps}: {seconds} seconds");
    }
}

#[test]
fn when_samples_are_given_makes_no_difference_to_them() {
    let mut all = Vec::new();
    for give_every in [1, 7, 1_000_000] {
        let (mut mixer, mut mixed, mut dice) = (mixer(), Vec::new(), 12_345_u64);
        for step in 0..2_000_u64 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (ms, roll) = (step * 7 + dice % 5, (dice >> 33) % 40);
            let value = i16::try_from(step).unwrap() + 1;
            match roll {
                0 => mixer.take(at(ms), Sound::Clear { held: Duration::from_millis(dice % 400) }),
                1..=18 => mixer.take(at(ms), Sound::Gateway(&frame(value))),
                _ => {
                    let stamp = (dice % 3 > 0).then(|| Duration::from_millis(ms + dice % 90));
                    mixer.take(at(ms), Sound::Caller { stamp, audio: &frame(-value) });
                }
            }
            if step % give_every == 0 {
                while mixer.give(&mut mixed) {}
            }
        }
        mixer.end(at(15_000));
        while mixer.give(&mut mixed) {}
        assert_eq!(mixed.len(), 2 * 15_000 * 8);
        all.push(mixed);
    }
    assert!(all[0] == all[1] && all[0] == all[2]);
}

#[test]
fn what_is_not_known_is_silence_and_what_follows_lies_right() {
    let mut mixer = mixer();
    let mut say = |ms: u64| mixer.take(at(ms), Sound::Caller { stamp: None, audio: &frame(1) });
    (1..=10).for_each(|n| say(n * 20));
    mixer.take(at(190), Sound::Gateway(&[frame(5), frame(5), frame(5)].concat()));
    mixer.take(at(1_200), Sound::Lost { from: at(210) });
    let mut say = |ms: u64| mixer.take(at(ms), Sound::Caller { stamp: None, audio: &frame(2) });
    (60..=65).for_each(|n| say(n * 20));
    let (caller, heard) = sides(mixer, at(1_400));
    assert_eq!(runs(&caller), [(1, 200), (0, 980), (2, 120), (0, 100)]);
    assert_eq!(runs(&heard), [(0, 190), (5, 20), (0, 1_190)]);
}

#[test]
fn an_hour_of_nothing_takes_no_memory_and_comes_in_blocks() {
    let mut mixer = mixer();
    mixer.take(at(0), Sound::Gateway(&frame(1)));
    mixer.take(at(3_600_000), Sound::Gateway(&frame(2)));
    let (mut mixed, mut blocks, mut total) = (Vec::new(), 0, 0);
    loop {
        mixed.clear();
        let is_more = mixer.give(&mut mixed);
        assert!(mixed.capacity() <= 4 * BLOCK_SAMPLES as usize);
        (blocks, total) = (blocks + 1, total + mixed.len() / 2);
        if !is_more {
            break;
        }
    }
    assert_eq!((blocks, total), (3_514, 3_598 * 8_000));
}

#[test]
fn formats_that_no_file_can_hold_are_refused_and_both_laws_decoded() {
    let wide = MediaFormat { rate: 16_000, ..linear() };
    assert!(Mixer::new(linear(), Some(wide)).is_none());
    assert!(Mixer::new(MediaFormat { rate: 1, ..linear() }, None).is_none());
    let alaw = MediaFormat { encoding: Encoding::Alaw, ..MediaFormat::TELEPHONE };
    let mut mixer = Mixer::new(MediaFormat::TELEPHONE, Some(alaw)).unwrap();
    let (mut mulaw, mut other) = (Vec::new(), Vec::new());
    g711::encode_mulaw_into(&[1_000; 160], &mut mulaw);
    g711::encode_alaw_into(&[-1_000; 160], &mut other);
    mixer.take(at(20), Sound::Caller { stamp: None, audio: &mulaw });
    mixer.take(at(20), Sound::Gateway(&other));
    let (caller, heard) = sides(mixer, at(40));
    assert!(caller[..160].iter().all(|sample| (900..1_100).contains(sample)), "{:?}", &caller[..3]);
    assert!(heard[160..].iter().all(|sample| (-1_100..-900).contains(sample)), "{:?}", &heard[160..163]);
}
