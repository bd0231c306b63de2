//! A layer of look-up tables: each result is one bit, read from a table at the address that a few input bits spell.
//!
//! Operands: `x`, bits in any shape; `connections`, integers `[outputs, pins]`, each the place of a bit in the flattened
//! `x`; and `tables`, bits `[outputs, 2^pins]`. Pin `j` is bit `j` of the address, so pin 0 is the lowest, as in the `INIT`
//! of Xilinx primitives and in BinaryBrain:
//!
//! `y[o] = tables[o, Σ_j x[connections[o, j]] << j]`
//!
//! The result is `bit[outputs]`. A layer has from 1 to 16 pins, the same number in every table; a table that needs fewer
//! ignores some, and may name one bit several times.

use super::{OpDef, OpError, arity, codes};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, Layout, TensorType};

/// A layer of look-up tables; all it knows is in its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lut;

impl Lut {
    /// The greatest number of pins.
    pub const MAX_PINS: usize = 16;

    /// The first connection that names no bit of an input of `bits` bits, as a complaint.
    fn stray(connections: &Tensor, bits: usize) -> Option<String> {
        let pins = *connections.shape().last()?;
        let inside = |c: i64| usize::try_from(c).is_ok_and(|c| c < bits);
        let stray = |i: usize| connections.data.code(i).filter(|&c| !inside(c)).map(|c| (i, c));
        let (i, c) = (0..connections.len()).find_map(stray)?;
        Some(format!("pin {} of table {} reads bit {c} of an input of {bits} bits", i % pins, i / pins))
    }
}

impl OpDef for Lut {
    const NAMES: &'static [&'static str] = &["lut"];

    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(_: &str, _: &mut AttrReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 3, 3)?;
        let (x, connections, tables) = (inputs[0], inputs[1], inputs[2]);
        let mut faults = Vec::new();
        if x.elem != ElemType::Bit {
            faults.push(format!("expected an input of bits, found {x}"));
        }
        let &[outputs, pins] = connections.shape.dims() else {
            faults.push(format!("expected connections [outputs, pins], found {connections}"));
            return Err(faults.join("; ").into());
        };
        if !matches!(connections.elem, ElemType::Int(_)) {
            faults.push(format!("expected connections that are integers, found {connections}"));
        }
        if outputs == 0 || !(1..=Self::MAX_PINS).contains(&pins) {
            let most = Self::MAX_PINS;
            faults.push(format!(
                "expected one table or more of 1 to {most} pins, found connections {connections}"
            ));
        } else if tables.elem != ElemType::Bit || tables.shape.dims() != [outputs, 1 << pins] {
            let entries = 1usize << pins;
            faults.push(format!(
                "expected tables bit[{outputs},{entries}] (2^{pins} entries for {pins} pins), found {tables}"
            ));
        }
        if !faults.is_empty() {
            return Err(faults.join("; ").into());
        }
        Ok(TensorType::new(ElemType::Bit, [outputs], Layout::channels_last(0)))
    }

    fn check_constants(&self, types: &[&TensorType], constants: &[Option<&Tensor>]) -> Result<(), OpError> {
        let (Some(x), Some(Some(connections))) = (types.first(), constants.get(1)) else { return Ok(()) };
        Self::stray(connections, x.shape.num_elements()).map_or(Ok(()), |text| Err(text.into()))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (x, connections, tables) = (codes(inputs, 0)?, codes(inputs, 1)?, codes(inputs, 2)?);
        if let Some(text) = Self::stray(inputs[1], x.len()) {
            return Err(text.into());
        }
        let pins = connections.len() / out.shape[0];
        let one = |(o, pins_of): (usize, &[i64])| {
            let address: usize =
                pins_of.iter().enumerate().map(|(j, &c)| (x[c as usize] as usize) << j).sum();
            tables[(o << pins) + address]
        };
        Ok(Data::from_codes(&ElemType::Bit, connections.chunks_exact(pins).enumerate().map(one)))
    }

    /// A table that is read counts as one.
    fn macs(&self, _: &[&TensorType], out: &TensorType) -> u64 {
        out.shape.num_elements() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::IntType;

    fn bits(shape: &[usize], v: &[i64]) -> Tensor {
        Tensor::codes(TensorType::new(ElemType::Bit, shape, Layout::anonymous(shape.len())), v.to_vec())
    }
    fn places(shape: &[usize], v: &[i64]) -> Tensor {
        let ty = TensorType::new(ElemType::Int(IntType::unsigned(16)), shape, Layout::anonymous(shape.len()));
        Tensor::codes(ty, v.to_vec())
    }
    fn run(x: &Tensor, connections: &Tensor, tables: &Tensor) -> Result<(String, Data), OpError> {
        let ty = Lut.infer(&[&x.ty, &connections.ty, &tables.ty])?;
        Ok((ty.to_string(), Lut.eval(&[x, connections, tables], &ty)?))
    }

    #[test]
    fn pin_0_is_the_lowest_bit_of_the_address() {
        // Tables: pin 0 itself; pin 1 and not pin 0; the same bit twice, where entries 1 and 2 never count.
        let connections = places(&[3, 2], &[0, 3, 1, 2, 3, 3]);
        let tables = bits(&[3, 4], &[0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1]);
        for x in 0..16i64 {
            let b = |i: i64| x >> i & 1;
            let x = bits(&[2, 2], &[b(0), b(1), b(2), b(3)]);
            let want = Data::I8(vec![b(0) as i8, (b(2) * (1 - b(1))) as i8, 1]);
            assert_eq!(run(&x, &connections, &tables), Ok(("bit[3] c".to_string(), want)));
        }
    }

    #[test]
    fn wide_tables_are_read_to_their_ends() {
        let connections = places(&[1, 16], &(0..16).collect::<Vec<i64>>());
        let mut table = vec![0; 1 << 16];
        table[0xffff] = 1;
        let tables = bits(&[1, 1 << 16], &table);
        assert_eq!(run(&bits(&[16], &[1; 16]), &connections, &tables).unwrap().1, Data::I8(vec![1]));
        let mut x = [1; 16];
        x[15] = 0;
        assert_eq!(run(&bits(&[16], &x), &connections, &tables).unwrap().1, Data::I8(vec![0]));
    }

    #[test]
    fn everything_that_does_not_suit_is_named() {
        let error = |x: &Tensor, c: &Tensor, t: &Tensor| run(x, c, t).unwrap_err().0;
        let x = bits(&[4], &[0; 4]);
        let (c, t) = (places(&[1, 2], &[0, 1]), bits(&[1, 4], &[0; 4]));
        let text = error(&places(&[4], &[0; 4]), &c, &bits(&[1, 8], &[0; 8]));
        assert!(text.contains("an input of bits, found u16[4]"), "{text}");
        assert!(text.contains("tables bit[1,4] (2^2 entries for 2 pins), found bit[1,8]"), "{text}");
        assert!(error(&x, &places(&[2], &[0, 1]), &t).contains("connections [outputs, pins]"));
        assert!(error(&x, &bits(&[1, 2], &[0, 1]), &t).contains("connections that are integers"));
        let wide = places(&[1, 17], &[0; 17]);
        assert!(error(&x, &wide, &t).contains("1 to 16 pins"));
        for stray in [4, -1] {
            let c = Tensor::codes(TensorType::new(ElemType::signed(8), [1, 2], c.ty.layout), [0, stray]);
            let want = format!("pin 1 of table 0 reads bit {stray} of an input of 4 bits");
            assert_eq!(error(&x, &c, &t), want);
            let types = [&x.ty, &c.ty, &t.ty];
            assert_eq!(Lut.check_constants(&types, &[None, Some(&c), Some(&t)]), Err(want.into()));
        }
        assert_eq!(Lut.check_constants(&[&x.ty, &c.ty, &t.ty], &[None, Some(&c), Some(&t)]), Ok(()));
    }
}
