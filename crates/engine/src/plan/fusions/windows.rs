//! Masks of shifted windows: the scores have a dimension of their own for the windows of an image while a mask is added that is
//! the same for all images. Together with what is added to the scores before, that is one mask.

use super::{
    super::{Facts, PlanError, Planner, placement::Placed},
    constant_and_other,
    links::Links,
};
use crate::{onnx::model::ValueId, tensor::Tensor};

/// Numbers of a mask that is made: 8 MB.
const LARGEST: usize = 2 << 20;

/// Scores `[window][head][row][key]`, and all that is added to them.
pub(super) struct Windows {
    pub(super) scores: ValueId,
    pub(super) mask: Tensor,
    /// The nodes that add, and those that give the windows a dimension of their own and take it away.
    pub(super) members: Vec<usize>,
}

impl Planner<'_> {
    /// What the softmax is taken of, if that is a sum of scores and of a mask of windows.
    pub(super) fn windows(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        value: ValueId,
    ) -> Result<Option<Windows>, PlanError> {
        let known = |planner: &Self, value| planner.fact(facts, value).and_then(|fact| fact.known_shape());
        let Some((last, node)) = links.maker(placed, value, "Reshape") else { return Ok(None) };
        let (Some(Some(sum)), Some(shape)) = (node.inputs.first().copied(), known(self, value)) else {
            return Ok(None);
        };
        let Some((middle, node)) = links.maker(placed, sum, "Add") else { return Ok(None) };
        let Some((mask, apart)) = constant_and_other(node, |value| self.constants.contains(value)) else {
            return Ok(None);
        };
        let Some((first, node)) = links.maker(placed, apart, "Reshape") else { return Ok(None) };
        let Some(Some(mut scores)) = node.inputs.first().copied() else { return Ok(None) };
        let &[windows, heads, rows, keys] = shape.as_slice() else { return Ok(None) };
        let is_alone = links.only_user(sum) == Some(last)
            && links.only_user(apart) == Some(middle)
            && links.only_user(scores) == Some(first)
            && known(self, scores).as_ref() == Some(&shape)
            && known(self, apart) == Some(vec![1, windows, heads, rows, keys])
            && known(self, sum) == known(self, apart);
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        if !is_alone || count.is_none_or(|count| count == 0 || count > LARGEST) {
            return Ok(None);
        }
        let mut members = vec![first, middle, last];
        let mut masks = vec![(mask, [windows, heads, rows, keys])];
        if let Some((place, node)) = links.maker(placed, scores, "Add")
            && let Some((bias, other)) = constant_and_other(node, |value| self.constants.contains(value))
            && known(self, other).as_ref() == Some(&shape)
            && links.only_user(other) == Some(place)
        {
            members.insert(0, place);
            masks.push((bias, [windows, heads, rows, keys]));
            scores = other;
        }
        let mut total = vec![0.0_f32; windows * heads * rows * keys];
        for (mask, sizes) in masks {
            let tensor = self.constants.tensor(mask, self.files)?;
            let Some(added) = tensor.as_ref().and_then(|tensor| spread(tensor, sizes)) else {
                return Ok(None);
            };
            total.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
        }
        let Some(mask) = Tensor::from_vec(shape, total) else { return Ok(None) };
        Ok(Some(Windows { scores, mask, members }))
    }
}

/// The numbers of a tensor of floats, repeated to these sizes.
fn spread(tensor: &Tensor, sizes: [usize; 4]) -> Option<Vec<f32>> {
    let values = tensor.values::<f32>()?;
    let mut own = [1; 4];
    // A dimension of images, of which there is one, may come first.
    let shape = match tensor.shape() {
        [1, rest @ ..] if rest.len() == 4 => rest,
        shape => shape,
    };
    own[4_usize.checked_sub(shape.len())?..].copy_from_slice(shape);
    if own.iter().zip(sizes).any(|(own, size)| *own != 1 && *own != size) {
        return None;
    }
    let mut result = Vec::with_capacity(sizes.iter().product());
    for number in 0..sizes.iter().product::<usize>() {
        let (mut rest, mut place, mut step) = (number, 0, 1);
        for axis in (0..4).rev() {
            if own[axis] != 1 {
                place += rest % sizes[axis] * step;
            }
            rest /= sizes[axis];
            step *= own[axis];
        }
        result.push(*values.get(place)?);
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_repeated_along_the_dimensions_that_they_lack() {
        let of_windows =
            Tensor::from_vec(vec![1, 2, 1, 1, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let found = spread(&of_windows, [2, 2, 1, 3]).unwrap();
        assert_eq!(found, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 4.0, 5.0, 6.0]);
        let of_heads = Tensor::from_vec(vec![2, 1, 1], vec![7.0_f32, 8.0]).unwrap();
        assert_eq!(spread(&of_heads, [2, 2, 1, 1]).unwrap(), [7.0, 8.0, 7.0, 8.0]);
        assert!(spread(&of_heads, [2, 3, 1, 1]).is_none());
        let of_images = Tensor::from_vec(vec![2, 1, 1, 1, 1], vec![7.0_f32, 8.0]).unwrap();
        assert!(spread(&of_images, [2, 3, 1, 1]).is_none());
    }
}
