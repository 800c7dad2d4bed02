//! Recordings that somebody wants played.

use std::time::Duration;

use trunkline::player::Sound;

const RATES: [u32; 4] = [8_000, 16_000, 24_000, 48_000];
const LONGEST: Duration = Duration::from_secs(20);

/// A file behind one byte that says at which rate it is wanted.
pub fn recording(input: &[u8]) {
    let [rate, file @ ..] = input else { return };
    let rate = RATES[usize::from(*rate) % RATES.len()];
    let Ok(sound) = Sound::decode(file.to_vec(), rate, LONGEST) else { return };
    assert!(sound.length() <= LONGEST + Duration::from_millis(100), "{:?}", sound.length());
    let bytes: usize = sound
        .piece(2, Duration::ZERO, Duration::from_secs(1), Duration::from_millis(200))
        .map(|audio| audio.len())
        .sum();
    assert!(bytes <= rate as usize * 2 + 4);
}
