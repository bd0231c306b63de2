//! Dense layers: a matrix product with the batch, and a matrix-vector product at batch 1.
//!
//! In: samples one after another, `[in]` each; weights [out, in]. Out: `[out]` per sample. A sample gives the same bits in
//! every batch.

use super::activation::Activation;
use super::error::{KernelError, exactly, product};
use super::isa::Isa;
use super::packed::{Packed, Rows};
use super::tile::Segment;

/// A dense layer ready to run: weights packed for one instruction set.
#[derive(Clone, Debug)]
pub struct Dense {
    inputs: usize,
    outputs: usize,
    packed: Packed,
}

impl Dense {
    /// Packs `weights` [out, in] and `bias` `[out]`.
    pub fn new(
        isa: Isa,
        inputs: usize,
        outputs: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Dense, KernelError> {
        let len = product("dense weights", &[inputs, outputs])?;
        exactly("dense weights", weights.len(), len)?;
        if let Some(bias) = bias {
            exactly("dense bias", bias.len(), outputs)?;
        }
        let segment = Segment { offset: 0, len: inputs };
        let packed = Packed::new(isa, (weights, bias), outputs, &[segment], 4, activation);
        Ok(Dense { inputs, outputs, packed })
    }

    /// f32 per input sample.
    pub fn input_len(&self) -> usize {
        self.inputs
    }

    /// f32 per output sample.
    pub fn output_len(&self) -> usize {
        self.outputs
    }

    /// Applies the layer to `batch` samples.
    pub fn run(&self, batch: usize, input: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
        let inputs = product("dense input", &[batch, self.inputs])?;
        let outputs = product("dense output", &[batch, self.outputs])?;
        exactly("dense input", input.len(), inputs)?;
        exactly("dense output", output.len(), outputs)?;
        let rows =
            Rows { pixels: batch, a_stride: self.inputs, c_stride: self.outputs, outer: [(1, 0, 0); 3] };
        self.packed.run(rows, input, 0, output, 0);
        Ok(())
    }
}
