//! What convolutions and pools have in common: the layout of channels, and
//! where the windows lie.

use super::call::{Call, Refusal, unsupported};
use crate::graph::{Attribute, Attributes, ValueId};

/// Where the channels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `NHWC` and the like.
    ChannelsLast,
    /// `NCHW` and the like: ONNX's own.
    ChannelsFirst,
}

impl Layout {
    /// The layout of a node.
    pub(crate) fn of(call: &Call<'_, '_>) -> Result<Self, Refusal> {
        match call.text("data_format").as_ref() {
            b"NHWC" | b"NDHWC" | b"NWC" => Ok(Self::ChannelsLast),
            b"NCHW" | b"NCDHW" | b"NCW" => Ok(Self::ChannelsFirst),
            other => unsupported(format!("the data format {}", String::from_utf8_lossy(other))),
        }
    }

    /// The spatial entries of a list with one entry for each axis.
    pub(crate) fn spatial<T: Copy>(self, all: &[T]) -> Option<Vec<T>> {
        let all = match self {
            Self::ChannelsLast => all.get(1..all.len().checked_sub(1)?)?,
            Self::ChannelsFirst => all.get(2..)?,
        };
        Some(all.to_vec())
    }

    /// A value with its channels first.
    pub(crate) fn enter(
        self,
        call: &mut Call<'_, '_>,
        id: ValueId,
        spatial: usize,
    ) -> Result<ValueId, Refusal> {
        match self {
            Self::ChannelsFirst => Ok(id),
            Self::ChannelsLast => {
                let last = spatial as i64 + 1;
                let permutation = [0, last].into_iter().chain(1..last).collect();
                call.transpose(id, permutation)
            }
        }
    }

    /// A value whose channels are first, as the node's result.
    pub(crate) fn leave(
        self,
        call: &mut Call<'_, '_>,
        id: ValueId,
        spatial: usize,
    ) -> Result<ValueId, Refusal> {
        match self {
            Self::ChannelsFirst => Ok(id),
            Self::ChannelsLast => {
                let last = spatial as i64 + 1;
                let permutation = std::iter::once(0).chain(2..=last).chain([1]).collect();
                call.transpose(id, permutation)
            }
        }
    }
}

/// How windows move over the spatial axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) size: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    pub(crate) dilations: Vec<i64>,
}

/// The padding of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Padding {
    Same,
    /// At the starts, then at the ends.
    Explicit(Vec<i64>),
}

impl Window {
    /// The window of a node, whose size is given.
    pub(crate) fn of(call: &Call<'_, '_>, layout: Layout, size: Vec<i64>) -> Result<Self, Refusal> {
        let spatial = |name: &str| layout.spatial(&call.node.integers(name));
        let (Some(strides), Some(dilations)) = (spatial("strides"), spatial("dilations")) else {
            return unsupported("strides or dilations are missing");
        };
        let dilations = if dilations.len() == size.len() { dilations } else { vec![1; size.len()] };
        // Batch and channels have no stride of their own: the products of both lists agree.
        let product = |list: &[i64]| list.iter().fold(1i64, |product, n| product.saturating_mul(*n));
        let right = strides.len() == size.len()
            && product(&call.node.integers("strides")) == product(&strides)
            && strides.iter().chain(&dilations).chain(&size).all(|n| (1..1 << 31).contains(n));
        if !right {
            return unsupported("sizes, strides or dilations of its window");
        }
        Ok(Self { size, strides, dilations })
    }

    /// How far a window reaches along an axis, dilation included.
    pub(crate) fn reach(&self, axis: usize) -> i64 {
        let size = self.size.get(axis).copied().unwrap_or(1);
        (size - 1) * self.dilations.get(axis).copied().unwrap_or(1) + 1
    }

    /// The attributes of the ONNX node, but for padding.
    pub(crate) fn attributes(&self) -> Attributes {
        let mut attributes =
            Attributes::none().with("kernel_shape", self.size.clone()).with("strides", self.strides.clone());
        if self.dilations.iter().any(|dilation| *dilation != 1) {
            attributes = attributes.with("dilations", self.dilations.clone());
        }
        attributes
    }

    /// The attributes with the padding: as numbers where they follow from known
    /// sizes, which every engine understands.
    pub(crate) fn padded(&self, padding: &Padding, sizes: Option<Vec<Option<i64>>>) -> Attributes {
        let attributes = self.attributes();
        match padding {
            Padding::Explicit(pads) => attributes.with("pads", pads.clone()),
            Padding::Same => match self.same_pads(&sizes.unwrap_or_default()) {
                Some(pads) => attributes.with("pads", pads),
                None => attributes.with("auto_pad", "SAME_UPPER"),
            },
        }
    }

    /// TensorFlow's `SAME`: as many windows as strides begin in the input, the odd
    /// element of padding at the end.
    fn same_pads(&self, sizes: &[Option<i64>]) -> Option<Vec<i64>> {
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for (axis, stride) in self.strides.iter().enumerate() {
            let reach = self.reach(axis);
            // With a stride of 1 the padding is the same for every size.
            let total = match sizes.get(axis).copied().flatten() {
                _ if *stride == 1 => reach - 1,
                Some(size) => {
                    let windows = size.checked_add(stride - 1)? / stride;
                    ((windows - 1).checked_mul(*stride)?.checked_add(reach)?.checked_sub(size)?).max(0)
                }
                None => return None,
            };
            starts.push(total / 2);
            ends.push(total - total / 2);
        }
        starts.extend(ends);
        Some(starts)
    }
}

impl Padding {
    /// The padding of a node.
    pub(crate) fn of(call: &Call<'_, '_>, layout: Layout, spatial: usize) -> Result<Self, Refusal> {
        match call.text("padding").as_ref() {
            b"SAME" => Ok(Self::Same),
            b"VALID" => Ok(Self::Explicit(vec![0; 2 * spatial])),
            b"EXPLICIT" => {
                let all = call.node.integers("explicit_paddings");
                let (pairs, _) = all.as_chunks::<2>();
                match layout.spatial(pairs) {
                    Some(pairs) if pairs.len() == spatial => {
                        let starts = pairs.iter().map(|[start, _]| *start);
                        Ok(Self::Explicit(starts.chain(pairs.iter().map(|[_, end]| *end)).collect()))
                    }
                    _ => unsupported("its explicit padding"),
                }
            }
            other => unsupported(format!("the padding {}", String::from_utf8_lossy(other))),
        }
    }
}

/// The spatial sizes of a value whose channels are first.
pub(crate) fn spatial_sizes(call: &Call<'_, '_>, id: ValueId) -> Option<Vec<Option<i64>>> {
    Some(call.builder.shape(id)?.get(2..)?.iter().map(|size| size.known()).collect())
}

/// Adds the number of groups, if there are several.
pub(crate) fn grouped(attributes: Attributes, groups: i64) -> Attributes {
    if groups == 1 { attributes } else { attributes.with("group", Attribute::Integer(groups)) }
}
