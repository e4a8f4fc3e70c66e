//! Normalizations by the mean and the variance of the images themselves.

use super::{Form, Known, Piece, Reader, Scale};
use crate::{onnx::model::Node, outside::Outside};

/// The opset from which on a group normalization has a scale for each channel.
const BY_CHANNEL: i64 = 21;

/// A normalization in groups of channels: a form that [`super::recognize`] does not see. The nodes are a `Reshape` that puts
/// the channels of a group into one row, an `InstanceNormalization` of those, and a `Reshape` back.
pub(crate) fn recognize_groups(nodes: [&Node; 3], known: &mut dyn Known) -> Option<Piece> {
    let [first, middle, last] = nodes;
    let operators = [("Reshape", first), ("InstanceNormalization", middle), ("Reshape", last)];
    if !operators.iter().all(|(operator, node)| node.domain.is_empty() && node.operator == *operator) {
        return None;
    }
    let output = last.outputs.first().copied().flatten()?;
    let (input, channels) = Reader { node: first, known: &mut *known }.image(0).ok()?;
    let (before, after) = (known.fact(input)?.shape?, known.fact(output)?.shape?);
    let rows = known.fact(first.outputs.first().copied().flatten()?)?.shape?;
    let groups = usize::try_from(rows.get(1)?.value()?).ok().filter(|groups| *groups > 0)?;
    // The rows of a batch are as many as its groups, so each has all of the group's channels.
    if before != after
        || rows.len() != 3
        || rows.first() != before.first()
        || !channels.is_multiple_of(groups)
    {
        return None;
    }
    let mut reader = Reader { node: middle, known };
    let epsilon = reader.float("epsilon", 1e-5).ok()?;
    let scale = reader.of_groups(groups, channels / groups).ok()?;
    let form = Form::Normalization { group: channels / groups, epsilon, scale };
    Some(Piece { form, inputs: vec![(input, channels)], output, channels })
}

impl Reader<'_> {
    /// A normalization of images as one node.
    pub(super) fn image_normalization(&mut self) -> Result<Vec<Piece>, Outside> {
        let (_, channels) = self.image(0)?;
        let epsilon = self.float("epsilon", 1e-5)?;
        let (groups, is_by_group) = if self.node.operator == "InstanceNormalization" {
            (channels, false)
        } else {
            let groups = usize::try_from(self.integer("num_groups", 0)?).ok();
            let is_whole = |groups: &usize| *groups > 0 && channels.is_multiple_of(*groups);
            let groups = groups.filter(is_whole).ok_or(Outside::Attribute("num_groups"))?;
            if self.integer("stash_type", 1)? != 1 {
                return Err(Outside::Attribute("stash_type"));
            }
            (groups, self.node.opset < BY_CHANNEL)
        };
        let group = channels / groups;
        let scale = if is_by_group { self.of_groups(groups, group)? } else { self.of_groups(channels, 1)? };
        self.of_image(0, Form::Normalization { group, epsilon, scale })
    }

    /// The second and the third input: a factor and a summand for each of `count` groups, each of `size` channels.
    fn of_groups(&mut self, count: usize, size: usize) -> Result<Scale, Outside> {
        let mut numbers = |index: usize| -> Result<Vec<f64>, Outside> {
            let values = self.vector(index, count)?.ok_or(Outside::Constant(index))?;
            let each = values.iter().flat_map(|value| std::iter::repeat_n(f64::from(*value), size));
            Ok(each.collect())
        };
        Ok(Scale { factors: numbers(1)?, summands: numbers(2)? })
    }
}
