//! Damaged variants of files, the same in every run.

/// A small generator (Marsaglia's xorshift), so that the mutants never change.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// One of the ways in which files break.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random) -> String {
    let length = bytes.len();
    let at = random.below(length);
    match random.below(7) {
        0 => {
            bytes.truncate(at);
            format!("truncated to {at}")
        }
        1 => {
            let count = 1 + random.below(8);
            for _ in 0..count {
                let at = random.below(length);
                bytes[at] ^= 1 << random.below(8);
            }
            format!("{count} bits flipped")
        }
        2 => {
            let end = (at + 1 + random.below(256)).min(length);
            bytes[at..end].fill(0);
            format!("zeros from {at} to {end}")
        }
        3 => {
            let end = (at + [2, 4, 8][random.below(3)]).min(length);
            bytes[at..end].fill(0xff);
            format!("ones from {at} to {end}")
        }
        4 => {
            let end = (at + random.below(512)).min(length);
            let to = random.below(length - (end - at));
            bytes.copy_within(at..end, to);
            format!("{at}..{end} copied to {to}")
        }
        5 => {
            // Formats keep their tables at the beginning or at the end: hit them more often.
            let near = if random.below(2) == 0 {
                random.below(2048)
            } else {
                length - 1 - random.below(2048.min(length))
            };
            let near = near.min(length - 1);
            bytes[near] = random.next() as u8;
            format!("byte {near} set to {}", bytes[near])
        }
        _ => {
            let inserted = vec![random.next() as u8; 1 + random.below(64)];
            bytes.splice(at..at, inserted);
            format!("bytes inserted at {at}")
        }
    }
}
