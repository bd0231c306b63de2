//! Layers of look-up tables, one behind the other, on up to 64 samples at once.
//!
//! In: samples of bits, a byte each; out: the bits of the last layer, a byte each. Between them a bit of all samples lies in
//! one word, sample `s` in bit `s`, and a table is a tree of choices between words: the lowest two pins make the sixteen
//! functions of two bits, of which each four entries of the table are one, and every other pin halves what is left. Tables of
//! more than [`TREE_PINS`] pins are read sample by sample instead.

use super::super::error::{KernelError, at_least, exactly, product};
use super::words_mut;

/// Samples of a word.
const SAMPLES: usize = 64;
/// The most pins of a table that is a tree: with more, a tree costs more than reading it for every sample.
const TREE_PINS: usize = 9;

/// One layer: connections `[outputs, pins]` and tables `[outputs, 2^pins]`, pin 0 the lowest bit of the address.
#[derive(Clone, Copy, Debug)]
pub struct LutSpec<'a> {
    /// Bits that come in.
    pub inputs: usize,
    /// Pins of each table.
    pub pins: usize,
    /// For each table, its pins' places among the inputs.
    pub connections: &'a [i64],
    /// For each table, its entries.
    pub tables: &'a [i64],
}

#[derive(Clone, Debug)]
struct Layer {
    outputs: usize,
    /// At least 2: a second pin that does not matter is the first one again.
    pins: usize,
    connections: Vec<u32>,
    /// `words_of(pins)` words of entries for each table.
    tables: Vec<u64>,
}

/// Layers ready to run.
#[derive(Clone, Debug)]
pub struct Luts {
    inputs: usize,
    /// The bits of the widest layer, but for the last.
    widest: usize,
    layers: Vec<Layer>,
}

/// Words of a table's entries.
fn words_of(pins: usize) -> usize {
    (1usize << pins).div_ceil(64)
}

impl Layer {
    fn new(spec: &LutSpec) -> Result<Layer, KernelError> {
        let shape = |text: String| KernelError::Shape(format!("look-up tables: {text}"));
        if !(1..=16).contains(&spec.pins) {
            return Err(shape(format!("{} pins", spec.pins)));
        }
        let (pins, entries) = (spec.pins.max(2), 1usize << spec.pins);
        let outputs = spec.connections.len() / spec.pins;
        exactly("connections", spec.connections.len(), product("look-up tables", &[outputs, spec.pins])?)?;
        exactly("tables", spec.tables.len(), product("look-up tables", &[outputs, entries])?)?;
        let mut connections = Vec::with_capacity(outputs * pins);
        for pin in spec.connections.chunks_exact(spec.pins) {
            let place = |&c: &i64| u32::try_from(c).ok().filter(|&c| (c as usize) < spec.inputs);
            let places: Option<Vec<u32>> = pin.iter().map(place).collect();
            let places = places.ok_or_else(|| shape(format!("a pin reads beyond {} bits", spec.inputs)))?;
            connections.extend_from_slice(&places);
            connections.extend(places.iter().take(pins - spec.pins));
        }
        let mut tables = vec![0u64; outputs * words_of(pins)];
        let to = tables.chunks_exact_mut(words_of(pins));
        for (to, entries) in to.zip(spec.tables.chunks_exact(entries)) {
            // A table of one pin repeats for the second.
            for (a, &entry) in entries.iter().cycle().take(1 << pins).enumerate() {
                to[a / 64] |= u64::from(entry != 0) << (a % 64);
            }
        }
        Ok(Layer { outputs, pins, connections, tables })
    }

    fn run(&self, x: &[u64], to: &mut [u64]) {
        match self.pins {
            2 => self.trees::<1>(x, to),
            3 => self.trees::<2>(x, to),
            4 => self.trees::<4>(x, to),
            5 => self.trees::<8>(x, to),
            6..=TREE_PINS => self.trees::<16>(x, to),
            _ => self.look_up(x, to),
        }
    }

    /// Tables as trees over `N` groups of four entries per word.
    fn trees<const N: usize>(&self, x: &[u64], to: &mut [u64]) {
        let tables = self.tables.chunks_exact(words_of(self.pins));
        for ((pins, table), to) in self.connections.chunks_exact(self.pins).zip(tables).zip(to) {
            let bits = |j: usize| pins.get(j).map_or(0, |&at| x[at as usize]);
            let functions = of_two(bits(0), bits(1));
            let choosers = [bits(2), bits(3), bits(4), bits(5)];
            let mut values = [0; 1 << (TREE_PINS - 6)];
            for (value, &word) in values.iter_mut().zip(table) {
                *value = tree::<N>(word, &functions, &choosers);
            }
            let mut left = table.len();
            for j in 6..self.pins {
                left /= 2;
                let chooser = bits(j);
                for i in 0..left {
                    values[i] = choose(chooser, values[2 * i], values[2 * i + 1]);
                }
            }
            *to = values[0];
        }
    }

    /// Tables that are read for every sample.
    fn look_up(&self, x: &[u64], to: &mut [u64]) {
        let tables = self.tables.chunks_exact(words_of(self.pins));
        for ((pins, table), to) in self.connections.chunks_exact(self.pins).zip(tables).zip(to) {
            *to = 0;
            for s in 0..SAMPLES {
                let address: usize =
                    pins.iter().enumerate().map(|(j, &at)| ((x[at as usize] >> s & 1) as usize) << j).sum();
                *to |= (table[address / 64] >> (address % 64) & 1) << s;
            }
        }
    }
}

/// `one` where `by` is set, else `zero`.
#[inline(always)]
fn choose(by: u64, zero: u64, one: u64) -> u64 {
    zero ^ ((zero ^ one) & by)
}

/// The sixteen functions of two bits: bit `i` of a function's number is its value at address `i`.
#[inline(always)]
fn of_two(a: u64, b: u64) -> [u64; 16] {
    let terms = [!a & !b, a & !b, !a & b, a & b];
    let mut all = [0; 16];
    for (i, term) in terms.into_iter().enumerate() {
        let (done, rest) = all.split_at_mut(1 << i);
        rest.iter_mut().zip(done).for_each(|(new, old)| *new = *old | term);
    }
    all
}

/// `N` groups of four entries, halved by each chooser.
#[inline(always)]
fn tree<const N: usize>(word: u64, functions: &[u64; 16], choosers: &[u64; 4]) -> u64 {
    let mut values = [0; N];
    for (i, value) in values.iter_mut().enumerate() {
        *value = functions[(word >> (4 * i) & 15) as usize];
    }
    let mut left = N;
    for &chooser in choosers {
        if left == 1 {
            break;
        }
        left /= 2;
        for i in 0..left {
            values[i] = choose(chooser, values[2 * i], values[2 * i + 1]);
        }
    }
    values[0]
}

impl Luts {
    /// Packs tables. Refuses layers that do not follow each other, pins that read beyond the inputs, and lengths that do
    /// not fit.
    pub fn new(specs: &[LutSpec]) -> Result<Luts, KernelError> {
        let layers: Vec<Layer> = specs.iter().map(Layer::new).collect::<Result<_, _>>()?;
        for (layer, next) in layers.iter().zip(&specs[1.min(specs.len())..]) {
            exactly("bits between look-up tables", next.inputs, layer.outputs)?;
        }
        let inputs = specs.first().map_or(0, |s| s.inputs);
        let between = layers.iter().map(|l| l.outputs).max().unwrap_or(0);
        Ok(Luts { inputs, widest: between, layers })
    }

    /// Bytes of scratch memory: the inputs' words, and two layers' in turn.
    pub fn scratch_len(&self) -> usize {
        (self.inputs + 2 * self.widest) * 8
    }

    /// Runs on `batch` samples.
    pub fn run(&self, batch: usize, x: &[u8], to: &mut [u8], scratch: &mut [u8]) -> Result<(), KernelError> {
        let outputs = self.layers.last().map_or(0, |l| l.outputs);
        exactly("input of look-up tables", x.len(), batch * self.inputs)?;
        exactly("output of look-up tables", to.len(), batch * outputs)?;
        let scratch = words_mut(scratch);
        at_least("scratch of look-up tables", scratch.len(), self.scratch_len() / 8)?;
        let (first, rest) = scratch.split_at_mut(self.inputs);
        let (mut from, mut next) = rest.split_at_mut(self.widest);
        let most = (SAMPLES * self.inputs, SAMPLES * outputs);
        for (x, to) in x.chunks(most.0.max(1)).zip(to.chunks_mut(most.1.max(1))) {
            gather(x, first);
            let mut layers = self.layers.iter();
            if let Some(layer) = layers.next() {
                layer.run(first, &mut from[..layer.outputs]);
            }
            for layer in layers {
                layer.run(from, &mut next[..layer.outputs]);
                (from, next) = (next, from);
            }
            scatter(&from[..outputs], to);
        }
        Ok(())
    }
}

/// Bits of at most 64 samples, a byte each, into a word for each bit.
fn gather(x: &[u8], to: &mut [u64]) {
    to.fill(0);
    let n = to.len();
    for (s, sample) in x.chunks_exact(n.max(1)).enumerate() {
        for (to, &bit) in to.iter_mut().zip(sample) {
            *to |= u64::from(bit & 1) << s;
        }
    }
}

/// A word for each bit into bytes, as many samples as `to` has room for.
fn scatter(bits: &[u64], to: &mut [u8]) {
    for (s, sample) in to.chunks_exact_mut(bits.len().max(1)).enumerate() {
        for (to, &word) in sample.iter_mut().zip(bits) {
            *to = (word >> s) as u8 & 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state ^ *state >> 29
    }

    /// Layers of every number of pins, against reading each table at its address.
    #[test]
    fn every_number_of_pins() {
        let mut state = 3;
        for pins in 1..=16usize {
            let widths = [20usize, 13, 9];
            let mut layers = Vec::new();
            for w in widths.windows(2) {
                let mut number = |below: usize| (random(&mut state) % below as u64) as i64;
                let connections: Vec<i64> = (0..w[1] * pins).map(|_| number(w[0])).collect();
                let tables: Vec<i64> = (0..w[1] << pins).map(|_| number(2)).collect();
                layers.push((w[0], connections, tables));
            }
            let specs: Vec<LutSpec> = layers
                .iter()
                .map(|(inputs, connections, tables)| LutSpec { inputs: *inputs, pins, connections, tables })
                .collect();
            let luts = Luts::new(&specs).unwrap();
            for batch in [0, 1, 64, 67] {
                let x: Vec<u8> = (0..batch * 20).map(|_| (random(&mut state) >> 40 & 1) as u8).collect();
                let mut scratch = super::super::super::int::AlignedBytes::zeroed(luts.scratch_len());
                let mut y = vec![7; batch * 9];
                luts.run(batch, &x, &mut y, &mut scratch).unwrap();
                for (x, y) in x.chunks_exact(20).zip(y.chunks_exact(9)) {
                    let mut bits = x.to_vec();
                    for (_, connections, tables) in &layers {
                        let read = |(o, c): (usize, &[i64])| {
                            let address: usize =
                                c.iter().rev().fold(0, |a, &c| 2 * a + bits[c as usize] as usize);
                            tables[(o << pins) + address] as u8
                        };
                        bits = connections.chunks_exact(pins).enumerate().map(read).collect();
                    }
                    assert_eq!(bits, y, "{pins} pins");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let spec = |inputs, pins, connections, tables| LutSpec { inputs, pins, connections, tables };
        let new = |s: &[LutSpec]| Luts::new(s).map(|_| ()).map_err(|e| e.to_string());
        assert!(new(&[spec(2, 2, &[0, 2], &[0; 4])]).unwrap_err().contains("beyond 2 bits"));
        assert!(new(&[spec(2, 2, &[0, -1], &[0; 4])]).is_err());
        assert!(new(&[spec(2, 2, &[0, 1], &[0; 5])]).is_err());
        assert!(new(&[spec(2, 0, &[], &[])]).unwrap_err().contains("0 pins"));
        assert!(new(&[spec(2, 17, &[], &[])]).unwrap_err().contains("17 pins"));
        let one = spec(2, 2, &[0, 1], &[0; 4]);
        assert!(new(&[one, one]).unwrap_err().contains("between"));
        let luts = Luts::new(&[one]).unwrap();
        assert!(luts.run(1, &[0; 3], &mut [0], &mut []).is_err());
        assert!(luts.run(1, &[0; 2], &mut [0], &mut []).unwrap_err().to_string().contains("scratch"));
    }
}
