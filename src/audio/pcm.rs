//! Bytes to samples, for chunks cut anywhere.

/// Reads little-endian 16-bit samples from chunks of any length; a sample split between two chunks is carried over.
#[derive(Debug, Default)]
pub struct SampleReader {
    carry: Option<u8>,
}

impl SampleReader {
    /// Appends the whole samples of `bytes` to `out`.
    pub fn read_into(&mut self, bytes: &[u8], out: &mut Vec<i16>) {
        let mut bytes = bytes;
        if let (Some(low), Some((high, rest))) = (self.carry, bytes.split_first()) {
            out.push(i16::from_le_bytes([low, *high]));
            self.carry = None;
            bytes = rest;
        }
        let (pairs, rest) = bytes.as_chunks::<2>();
        out.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        if let Some(low) = rest.first() {
            self.carry = Some(*low);
        }
    }

    /// Forgets half a sample.
    pub fn reset(&mut self) {
        self.carry = None;
    }
}

/// Appends `samples` as little-endian bytes to `out`.
pub fn write_into(samples: &[i16], out: &mut Vec<u8>) {
    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_samples() {
        let samples: Vec<i16> = (-50..50).map(|n| n * 321).collect();
        let mut bytes = Vec::new();
        write_into(&samples, &mut bytes);
        for size in 1..=bytes.len() {
            let (mut reader, mut out) = (SampleReader::default(), Vec::new());
            for chunk in bytes.chunks(size) {
                reader.read_into(chunk, &mut out);
            }
            assert_eq!(out, samples, "chunks of {size}");
        }
    }
}
