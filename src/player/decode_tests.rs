use std::f64::consts::TAU;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::*;
use crate::audio::{g711, pcm};

/// 1.2 s of a tone at 600 Hz, stereo, -6 dBFS left and -12 dBFS right: `fixtures/music/README.md`.
const TONE_MP3: &[u8] = include_bytes!("../../fixtures/music/tone.mp3");
const MINUTE: Duration = Duration::from_secs(60);

fn wav<T: hound::Sample + Copy>(spec: (u16, u32, u16, SampleFormat), samples: impl Iterator<Item = T>) -> Vec<u8> {
    let (channels, sample_rate, bits_per_sample, sample_format) = spec;
    let mut file = Cursor::new(Vec::new());
    let mut writer =
        WavWriter::new(&mut file, WavSpec { channels, sample_rate, bits_per_sample, sample_format }).unwrap();
    samples.for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

/// A file in one of the encodings that hound does not write.
fn companded(tag: u16, words: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend(u32::try_from(4 + 26 + 8 + words.len()).unwrap().to_le_bytes());
    file.extend(b"WAVEfmt \x12\0\0\0");
    file.extend([tag.to_le_bytes(), 1_u16.to_le_bytes()].concat());
    file.extend([8_000_u32.to_le_bytes(), 8_000_u32.to_le_bytes()].concat());
    file.extend([1_u16.to_le_bytes(), 8_u16.to_le_bytes(), 0_u16.to_le_bytes()].concat());
    file.extend(b"data");
    file.extend(u32::try_from(words.len()).unwrap().to_le_bytes());
    file.extend(words);
    file
}

/// A tone of half a second, from -1 to 1.
fn tone(rate: u32) -> impl Iterator<Item = f64> {
    (0..rate / 2).map(move |n| 0.5 * (TAU * 600.0 * f64::from(n) / f64::from(rate)).sin())
}

fn samples(sound: &Sound) -> Vec<i16> {
    let (mut reader, mut samples) = (pcm::SampleReader::default(), Vec::new());
    let whole = sound.piece(1, Duration::ZERO, sound.length() + MINUTE, MINUTE);
    whole.for_each(|bytes| reader.read_into(&bytes, &mut samples));
    samples
}

fn decoded(file: Vec<u8>) -> Vec<i16> {
    samples(&decode(file, 8_000, MINUTE).unwrap())
}

fn refused(file: Vec<u8>) -> DecodeError {
    decode(file, 8_000, MINUTE).unwrap_err()
}

/// Level and frequency of the middle of a tone.
fn measure(samples: &[i16]) -> (f64, f64) {
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    let power = middle.iter().map(|sample| (f64::from(*sample) / 32_768.0).powi(2)).sum::<f64>() / middle.len() as f64;
    let rises = middle.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    ((power * 2.0).sqrt(), rises as f64 * 8_000.0 / middle.len() as f64)
}

#[test]
fn every_encoding_of_wav_is_the_same_tone() {
    let float = |level: f64| level as f32;
    let mut words = (Vec::new(), Vec::new());
    let narrow: Vec<i16> = tone(8_000).map(|level| (level * 32_767.0) as i16).collect();
    g711::encode_mulaw_into(&narrow, &mut words.0);
    g711::encode_alaw_into(&narrow, &mut words.1);
    let files = [
        ("8 bits", wav((1, 8_000, 8, SampleFormat::Int), tone(8_000).map(|level| (level * 127.0) as i8))),
        ("16 bits", wav((1, 16_000, 16, SampleFormat::Int), tone(16_000).map(|level| (level * 32_767.0) as i16))),
        ("24 bits", wav((1, 44_100, 24, SampleFormat::Int), tone(44_100).map(|level| (level * 8_388_607.0) as i32))),
        (
            "32 bits",
            wav((1, 48_000, 32, SampleFormat::Int), tone(48_000).map(|level| (level * 2_147_483_647.0) as i32)),
        ),
        ("float", wav((1, 22_050, 32, SampleFormat::Float), tone(22_050).map(float))),
        ("mu-law", companded(7, &words.0)),
        ("a-law", companded(6, &words.1)),
    ];
    for (name, file) in files {
        let heard = decoded(file);
        assert_eq!(heard.len(), 4_000, "{name}");
        let (level, hz) = measure(&heard);
        assert!((0.48..0.52).contains(&level) && (595.0..605.0).contains(&hz), "{name}: {level} at {hz} Hz");
    }
}

#[test]
fn sixteen_bits_at_the_lines_rate_come_as_they_are() {
    let all: Vec<i16> = (0..8_000).map(|n| (n * 37 % 65_536 - 32_768) as i16).chain([i16::MIN, i16::MAX]).collect();
    assert!(decoded(wav((1, 8_000, 16, SampleFormat::Int), all.iter().copied())) == all);
}

#[test]
fn channels_are_mixed_to_their_mean_and_what_is_too_loud_is_bounded() {
    let pairs = [1_000_i16, 3_000, -500, 500, 32_767, 32_767].repeat(10);
    assert_eq!(decoded(wav((2, 8_000, 16, SampleFormat::Int), pairs.into_iter()))[..3], [2_000, 0, 32_767]);
    let loud = [2.0_f32, -2.0, f32::NAN].into_iter();
    assert_eq!(decoded(wav((1, 8_000, 32, SampleFormat::Float), loud)), [i16::MAX, i16::MIN, 0]);
}

#[test]
fn an_mp3_is_decoded_mixed_and_brought_to_the_lines_rate() {
    let heard = decoded(TONE_MP3.to_vec());
    let (level, hz) = measure(&heard);
    // The mean of both sides, less the twentieth that LAME takes off.
    assert!((0.34..0.37).contains(&level) && (597.0..603.0).contains(&hz), "{level} at {hz} Hz");
    // An encoder adds frames at both ends.
    assert!((9_600..10_800).contains(&heard.len()), "{}", heard.len());
    let wide = decode(TONE_MP3.to_vec(), 16_000, MINUTE).unwrap();
    assert_eq!(samples(&wide).len() / 2, heard.len());
}

#[test]
fn what_stands_in_front_of_an_mp3_is_passed_over() {
    let plain = decoded(TONE_MP3.to_vec());
    let tagged = |inside: &[u8]| {
        let size = |shift: usize| (inside.len() >> shift & 0x7F) as u8;
        let head = [b'I', b'D', b'3', 4, 0, 0, size(21), size(14), size(7), size(0)];
        [&head, inside, TONE_MP3].concat()
    };
    // A picture may hold anything, also what looks like sound.
    assert!(decoded(tagged(&[0xFF, 0xFB, 0x90, 0x64].repeat(5_000))) == plain);
    assert!(decoded([&[0; 100], TONE_MP3].concat()) == plain);
    assert_eq!(refused([&[0; JUNK_BYTES_MAX], TONE_MP3].concat()), DecodeError::Unknown);
}

#[test]
fn a_file_that_is_shorter_than_it_says_is_refused() {
    let file = wav((1, 8_000, 16, SampleFormat::Int), tone(8_000).map(|level| (level * 32_767.0) as i16));
    for bytes in [20, 40, 44, file.len() / 2, file.len() - 200] {
        let fault = refused(file[..bytes].to_vec());
        assert!(matches!(fault, DecodeError::Cut | DecodeError::Broken), "{bytes} bytes: {fault}");
    }
    // Who writes into a pipe does not know the length before.
    for unknown in [0, 0xFF] {
        let mut piped = file.clone();
        piped[4..8].copy_from_slice(&[unknown; 4]);
        piped[40..44].copy_from_slice(&[unknown; 4]);
        assert!(decoded(piped) == decoded(file.clone()));
    }
    // The same of an MP3 that tells how many frames it has, in a first one without sound.
    // At 48 kbit/s and 22,050 Hz a frame of 576 samples has 156 bytes, and one more if its header says so.
    let next =
        |at: &usize| Some(at + 156 + usize::from(TONE_MP3.get(at + 2)? >> 1 & 1)).filter(|at| *at < TONE_MP3.len());
    let frames = std::iter::successors(Some(0), next).count() as u32;
    assert_eq!((TONE_MP3[2] >> 1 & 1, frames), (0, 48));
    let mut head = vec![0; 156];
    head[..4].copy_from_slice(&TONE_MP3[..4]);
    head[21..29].copy_from_slice(b"Info\0\0\0\x01");
    head[29..33].copy_from_slice(&frames.to_be_bytes());
    let counted = [&head, TONE_MP3].concat();
    let whole = decoded(counted.clone());
    assert!(whole.len().abs_diff(decoded(TONE_MP3.to_vec()).len()) < 1_152);
    assert_eq!(refused(counted[..counted.len() / 2].to_vec()), DecodeError::Cut);
}

#[test]
fn what_is_no_recording_is_refused_whatever_it_is() {
    assert_eq!(refused(Vec::new()), DecodeError::Unknown);
    assert_eq!(refused(b"<!DOCTYPE html><html><body>Not found</body></html>".repeat(100)), DecodeError::Unknown);
    assert_eq!(refused(b"OggS\0\x02".repeat(1_000)), DecodeError::Unknown);
    assert_eq!(refused(b"ID3".to_vec()), DecodeError::Unknown);
    assert_eq!(refused(wav((1, 8_000, 16, SampleFormat::Int), std::iter::empty::<i16>())), DecodeError::Empty);
    assert_eq!(refused(wav((1, 1, 16, SampleFormat::Int), [1_i16].into_iter())), DecodeError::Unsupported);
    // Noise, from a generator that every machine has: it may find something in it, but never panics.
    let mut state = 1_u64;
    let mut noise = |bytes: usize| -> Vec<u8> {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..bytes).map(next).collect()
    };
    let mut refusals = 0;
    for _ in 0..50 {
        refusals += u32::from(decode(noise(20_000), 8_000, MINUTE).is_err());
        let mut broken = TONE_MP3.to_vec();
        broken[400..2_400].copy_from_slice(&noise(2_000));
        let _ = decode(broken, 8_000, MINUTE);
    }
    assert!(refusals >= 45, "{refusals} of 50 stretches of noise were refused");
}

#[test]
fn a_recording_may_be_so_long_and_no_longer() {
    let file = wav((1, 16_000, 16, SampleFormat::Int), std::iter::repeat_n(0_i16, 16_000));
    let length = |max| decode(file.clone(), 8_000, Duration::from_millis(max)).map(|sound| sound.length());
    assert_eq!(length(1_000), Ok(Duration::from_secs(1)));
    assert_eq!(length(900), Err(DecodeError::Long));
}
