//! Tensors rearranged: transposed, sliced, expanded, gathered, concatenated.

use bytes::Bytes;

use crate::tensor::{Elements, Tensor, count};

/// A walk through a tensor's elements: where it starts, and how far apart neighbours are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) dimensions: Vec<usize>,
    pub(crate) strides: Vec<isize>,
    pub(crate) offset: usize,
}

/// The distances of neighbours in row-major order.
pub(crate) fn strides(dimensions: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; dimensions.len()];
    let mut distance = 1isize;
    for (stride, dimension) in strides.iter_mut().zip(dimensions).rev() {
        *stride = distance;
        distance = distance.saturating_mul(isize::try_from(*dimension).unwrap_or(isize::MAX));
    }
    strides
}

impl View {
    /// The tensor as it is.
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let dimensions = tensor.dimensions().to_vec();
        Self { strides: strides(&dimensions), dimensions, offset: 0 }
    }

    /// Calls `visit` with the position of each element, in the view's row-major order.
    fn visit(&self, mut visit: impl FnMut(usize)) {
        if self.dimensions.contains(&0) {
            return;
        }
        let mut index = vec![0usize; self.dimensions.len()];
        let mut position = self.offset as isize;
        loop {
            visit(position as usize);
            let mut axis = self.dimensions.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                let (Some(i), Some(size), Some(stride)) =
                    (index.get_mut(axis), self.dimensions.get(axis), self.strides.get(axis))
                else {
                    return;
                };
                *i += 1;
                position += stride;
                if *i < *size {
                    break;
                }
                position -= stride * *size as isize;
                *i = 0;
            }
        }
    }

    /// The tensor that the view shows; `None` if it leaves the tensor.
    pub(crate) fn copy(&self, tensor: &Tensor) -> Option<Tensor> {
        let total = count(&self.dimensions)?;
        match tensor.elements() {
            Elements::Strings(strings) => {
                let mut result = Vec::with_capacity(total);
                self.visit(|position| result.extend(strings.get(position).cloned()));
                Tensor::strings(self.dimensions.clone(), result)
            }
            Elements::Fixed(bytes) => {
                let size = tensor.kind().size()?;
                let mut result = Vec::with_capacity(total.checked_mul(size)?);
                match size {
                    1 => self.copy_chunks::<1>(bytes, &mut result),
                    2 => self.copy_chunks::<2>(bytes, &mut result),
                    4 => self.copy_chunks::<4>(bytes, &mut result),
                    _ => self.copy_chunks::<8>(bytes, &mut result),
                }
                Tensor::fixed(tensor.kind(), self.dimensions.clone(), result.into())
            }
        }
    }

    fn copy_chunks<const SIZE: usize>(&self, bytes: &Bytes, result: &mut Vec<u8>) {
        let (chunks, _) = bytes.as_chunks::<SIZE>();
        self.visit(|position| {
            if let Some(chunk) = chunks.get(position) {
                result.extend_from_slice(chunk);
            }
        });
    }
}

/// The tensor with its axes in the order `permutation`.
pub(crate) fn transpose(tensor: &Tensor, permutation: &[i64]) -> Option<Tensor> {
    let view = View::of(tensor);
    let pick = |axis: &i64| usize::try_from(*axis).ok();
    let dimensions = permutation
        .iter()
        .map(|axis| view.dimensions.get(pick(axis)?).copied())
        .collect::<Option<Vec<_>>>()?;
    let strides =
        permutation.iter().map(|axis| view.strides.get(pick(axis)?).copied()).collect::<Option<Vec<_>>>()?;
    let mut seen = permutation.to_vec();
    seen.sort_unstable();
    let all = seen.iter().enumerate().all(|(index, axis)| *axis == index as i64);
    if !all || seen.len() != view.dimensions.len() {
        return None;
    }
    View { dimensions, strides, offset: 0 }.copy(tensor)
}

/// The tensor broadcast to `dimensions`.
pub(crate) fn broadcast(tensor: &Tensor, dimensions: &[usize]) -> Option<Tensor> {
    if tensor.dimensions() == dimensions {
        return Some(tensor.clone());
    }
    broadcast_view(tensor.dimensions(), dimensions)?.copy(tensor)
}

/// How a tensor of the dimensions `from` is seen when it is broadcast to `to`.
pub(crate) fn broadcast_view(from: &[usize], to: &[usize]) -> Option<View> {
    let missing = to.len().checked_sub(from.len())?;
    let mut steps = vec![0isize; missing];
    for ((size, stride), wanted) in from.iter().zip(strides(from)).zip(to.iter().skip(missing)) {
        match (*size == *wanted, *size) {
            (true, _) => steps.push(stride),
            (false, 1) => steps.push(0),
            _ => return None,
        }
    }
    Some(View { dimensions: to.to_vec(), strides: steps, offset: 0 })
}

/// The positions of a view's elements, in its order.
pub(crate) fn positions(view: &View) -> Option<Vec<usize>> {
    let mut all = Vec::with_capacity(count(&view.dimensions)?);
    view.visit(|position| all.push(position));
    Some(all)
}

/// The tensors one after the other along an axis.
pub(crate) fn concatenate(tensors: &[&Tensor], axis: usize) -> Option<Tensor> {
    let first = tensors.first()?;
    let mut dimensions = first.dimensions().to_vec();
    let along = tensors.iter().try_fold(0usize, |sum, tensor| {
        let same = tensor.kind() == first.kind()
            && tensor.dimensions().len() == dimensions.len()
            && tensor.dimensions().iter().zip(&dimensions).enumerate().all(|(i, (a, b))| i == axis || a == b);
        sum.checked_add(*tensor.dimensions().get(axis).filter(|_| same)?)
    })?;
    *dimensions.get_mut(axis)? = along;
    let outer = count(dimensions.get(..axis)?)?;
    let inner = count(dimensions.get(axis + 1..)?)?;
    let mut strings = Vec::new();
    let mut result = Vec::new();
    for block in 0..outer {
        for tensor in tensors {
            let length = tensor.dimensions().get(axis)?.checked_mul(inner)?;
            let start = block.checked_mul(length)?;
            match tensor.elements() {
                Elements::Strings(all) => strings.extend_from_slice(all.get(start..start + length)?),
                Elements::Fixed(bytes) => {
                    let size = tensor.kind().size()?;
                    result.extend_from_slice(bytes.get(start * size..(start + length) * size)?);
                }
            }
        }
    }
    match first.elements() {
        Elements::Strings(_) => Tensor::strings(dimensions, strings),
        Elements::Fixed(_) => Tensor::fixed(first.kind(), dimensions, result.into()),
    }
}

/// The entries `indices` of a tensor along an axis. Negative ones count from the end.
pub(crate) fn gather(tensor: &Tensor, indices: &Tensor, axis: usize) -> Option<Tensor> {
    let size = *tensor.dimensions().get(axis)? as i64;
    let wrapped = indices.integers()?.into_iter().map(|index| if index < 0 { index + size } else { index });
    let entries = wrapped
        .map(|index| usize::try_from(index).ok().filter(|_| index < size))
        .collect::<Option<Vec<usize>>>()?;
    let mut dimensions = tensor.dimensions().get(..axis)?.to_vec();
    dimensions.extend_from_slice(indices.dimensions());
    dimensions.extend_from_slice(tensor.dimensions().get(axis + 1..)?);
    let outer = count(tensor.dimensions().get(..axis)?)?;
    let inner = count(tensor.dimensions().get(axis + 1..)?)?;
    let mut strings = Vec::new();
    let mut result = Vec::new();
    for block in 0..outer {
        for entry in &entries {
            let start = (block.checked_mul(size as usize)?.checked_add(*entry)?).checked_mul(inner)?;
            match tensor.elements() {
                Elements::Strings(all) => strings.extend_from_slice(all.get(start..start + inner)?),
                Elements::Fixed(bytes) => {
                    let width = tensor.kind().size()?;
                    result.extend_from_slice(bytes.get(start * width..(start + inner) * width)?);
                }
            }
        }
    }
    match tensor.elements() {
        Elements::Strings(_) => Tensor::strings(dimensions, strings),
        Elements::Fixed(_) => Tensor::fixed(tensor.kind(), dimensions, result.into()),
    }
}
