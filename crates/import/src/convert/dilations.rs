//! Dilated convolutions as TensorFlow writes some of them: `SpaceToBatchND`, a
//! convolution, `BatchToSpaceND`. Each of the three has a conversion of its own;
//! together they are one convolution with dilations.

use std::collections::HashMap;

use super::{
    call::{Call, Refusal},
    windows::Layout,
};
use crate::{
    graph::{Attributes, Operator, ValueId},
    tensorflow::attributes::NodeView,
};

/// What `SpaceToBatchND` spread, by its result.
#[derive(Debug, Clone)]
struct Spread {
    /// The tensor before it is spread, [batch, space..., channels].
    source: ValueId,
    blocks: Vec<i64>,
    /// Before and after each spatial axis.
    pads: Vec<[i64; 2]>,
}

/// A convolution of what was spread, by its result.
#[derive(Debug, Clone)]
struct Convolved<'m> {
    spread: Spread,
    node: NodeView<'m>,
    kernel: ValueId,
    /// An axis of 1 that was inserted before the convolution, and is taken out after it.
    inserted: bool,
    squeezed: bool,
}

/// The knowledge from the conversions so far.
#[derive(Debug, Default)]
pub(crate) struct Dilations<'m> {
    spread: HashMap<ValueId, (Spread, bool)>,
    convolved: HashMap<ValueId, Convolved<'m>>,
}

impl<'m> Dilations<'m> {
    /// Notes what a node did, after its own conversion.
    pub(crate) fn note(&mut self, call: &mut Call<'_, 'm>, output: ValueId) -> Result<(), Refusal> {
        let Ok(input) = call.tensor(0) else { return Ok(()) };
        match call.operator() {
            "SpaceToBatchND" => {
                if let (Ok(blocks), Ok(pads)) = (call.integers(1), call.integers(2)) {
                    let (pads, _) = pads.as_chunks::<2>();
                    let spread = Spread { source: input, blocks, pads: pads.to_vec() };
                    self.spread.insert(output, (spread, false));
                }
            }
            // A convolution in one dimension is one in two, with an axis of 1.
            "ExpandDims" => {
                let known = self.spread.get(&input).filter(|(spread, inserted)| {
                    !inserted && spread.blocks.len() == 1 && call.builder.rank(input) == Some(3)
                });
                if let Some((spread, _)) = known.cloned()
                    && matches!(call.integer(1), Ok(1 | -3))
                {
                    let source = call.unsqueeze(spread.source, &[1])?;
                    let blocks = vec![1, spread.blocks.first().copied().unwrap_or(1)];
                    let pads = std::iter::once([0, 0]).chain(spread.pads).collect();
                    self.spread.insert(output, (Spread { source, blocks, pads }, true));
                }
            }
            "Conv2D" | "DepthwiseConv2dNative" => {
                if let (Some((spread, inserted)), Ok(kernel)) = (self.spread.get(&input), call.tensor(1)) {
                    let ones = |name: &str| call.node.integers(name).iter().all(|size| *size == 1);
                    let plain =
                        call.text("padding").as_ref() == b"VALID" && ones("strides") && ones("dilations");
                    if plain && Layout::of(call)? == Layout::ChannelsLast && spread.blocks.len() == 2 {
                        let (spread, inserted) = (spread.clone(), *inserted);
                        let convolved =
                            Convolved { spread, node: call.node, kernel, inserted, squeezed: false };
                        self.convolved.insert(output, convolved);
                    }
                }
            }
            "Squeeze" => {
                let known = self.convolved.get(&input).filter(|known| known.inserted && !known.squeezed);
                if let Some(known) = known.cloned()
                    && matches!(call.node.integers("squeeze_dims").as_slice(), [1 | -3])
                {
                    self.convolved.insert(output, Convolved { squeezed: true, ..known });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The convolution that a `BatchToSpaceND` completes.
    pub(crate) fn complete(&self, call: &mut Call<'_, 'm>) -> Result<Option<ValueId>, Refusal> {
        let Some(known) = call.tensor(0).ok().and_then(|input| self.convolved.get(&input)).cloned() else {
            return Ok(None);
        };
        let Convolved { spread, node, kernel, inserted, squeezed } = known;
        let (Ok(mut blocks), Ok(crops)) = (call.integers(1), call.integers(2)) else { return Ok(None) };
        let (crops, _) = crops.as_chunks::<2>();
        let mut crops = crops.to_vec();
        if inserted {
            blocks.insert(0, 1);
            crops.insert(0, [0, 0]);
        }
        if blocks != spread.blocks || inserted != squeezed || crops.len() != spread.pads.len() {
            return Ok(None);
        }
        // With steps of 1, what is cropped from the result need not be padded before.
        let pads: Vec<[i64; 2]> = spread
            .pads
            .iter()
            .zip(&crops)
            .map(|([start, end], [first, last])| [start.saturating_sub(*first), end.saturating_sub(*last)])
            .collect();
        if pads.iter().flatten().any(|pad| *pad < 0) {
            return Ok(None);
        }
        let explicit = pads.iter().map(|[start, _]| *start).chain(pads.iter().map(|[_, end]| *end)).collect();
        let inputs = [super::Datum::Tensor(spread.source), super::Datum::Tensor(kernel)];
        let mut inner = Call { node, inputs: &inputs, builder: call.builder };
        let result = super::convolutions::dilated(&mut inner, &spread.blocks, explicit)?;
        if !inserted {
            return Ok(Some(result));
        }
        let axis = inner.vector(&[1])?;
        Ok(Some(inner.emit(Operator::Squeeze, &[result, axis], Attributes::none())?))
    }
}
