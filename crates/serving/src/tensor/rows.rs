//! Tensors whose first dimension is a batch: joined to one, and cut into parts again.

use adytum_engine::tensor::{Element, ElementType, Tensor, Text};

/// Calls a function for the element type of a tensor.
macro_rules! by_type {
    ($element_type:expr, $function:ident, $($argument:expr),*) => {
        match $element_type {
            ElementType::Float => $function::<f32>($($argument),*),
            ElementType::Double => $function::<f64>($($argument),*),
            ElementType::Half => $function::<half::f16>($($argument),*),
            ElementType::Bfloat16 => $function::<half::bf16>($($argument),*),
            ElementType::Int8 => $function::<i8>($($argument),*),
            ElementType::Int16 => $function::<i16>($($argument),*),
            ElementType::Int32 => $function::<i32>($($argument),*),
            ElementType::Int64 => $function::<i64>($($argument),*),
            ElementType::Uint8 => $function::<u8>($($argument),*),
            ElementType::Uint16 => $function::<u16>($($argument),*),
            ElementType::Uint32 => $function::<u32>($($argument),*),
            ElementType::Uint64 => $function::<u64>($($argument),*),
            ElementType::Bool => $function::<bool>($($argument),*),
            ElementType::Text => $function::<Text>($($argument),*),
        }
    };
}

/// The first dimension of these tensors, if all have the same one and it is not 0.
pub(crate) fn rows(tensors: &[Tensor]) -> Option<usize> {
    let rows = *tensors.first()?.shape().first()?;
    let same = tensors.iter().all(|tensor| tensor.shape().first() == Some(&rows));
    (same && rows > 0).then_some(rows)
}

/// The rows of all `parts`, then the first row `padding` times. `None` if the parts differ
/// in their types or in the shapes of their rows.
pub(crate) fn join(parts: &[&Tensor], padding: usize) -> Option<Tensor> {
    let first = parts.first()?;
    by_type!(first.element_type(), join_of, parts, padding)
}

fn join_of<T: Element + Clone>(parts: &[&Tensor], padding: usize) -> Option<Tensor> {
    let (_, row) = parts.first()?.shape().split_first()?;
    let size: usize = row.iter().product();
    let mut rows = padding;
    let mut values: Vec<T> = Vec::new();
    for part in parts {
        let (count, shape) = part.shape().split_first()?;
        if shape != row {
            return None;
        }
        rows = rows.checked_add(*count)?;
        values.extend_from_slice(part.values::<T>()?);
    }
    for _ in 0..padding {
        let again = values.get(..size)?.to_vec();
        values.extend(again);
    }
    let shape: Vec<usize> = std::iter::once(rows).chain(row.iter().copied()).collect();
    Tensor::from_vec(shape, values)
}

/// The largest sizes of the rows of these tensors, which have as many dimensions each.
pub(crate) fn largest_row(parts: &[&Tensor]) -> Vec<usize> {
    let mut largest: Vec<usize> = Vec::new();
    for part in parts {
        let row = part.shape().get(1..).unwrap_or_default();
        largest.resize(largest.len().max(row.len()), 0);
        for (size, one) in largest.iter_mut().zip(row) {
            *size = (*size).max(*one);
        }
    }
    largest
}

/// The tensor with rows of these sizes. Each dimension is filled up at its end with the tensor's
/// first value, as in TensorFlow Serving. `None` if it has another number of dimensions,
/// is larger, or has no value.
pub(crate) fn widen(tensor: &Tensor, row: &[usize]) -> Option<Tensor> {
    by_type!(tensor.element_type(), widen_of, tensor, row)
}

fn widen_of<T: Element + Clone>(tensor: &Tensor, row: &[usize]) -> Option<Tensor> {
    let (rows, old) = tensor.shape().split_first()?;
    if old.len() != row.len() || old.iter().zip(row).any(|(old, new)| old > new) {
        return None;
    }
    let values = tensor.values::<T>()?;
    let count = row.iter().try_fold(*rows, |count, size| count.checked_mul(*size))?;
    let mut wide = vec![values.first()?.clone(); count];
    let sizes = |all: &[usize]| all.iter().product::<usize>();
    copy(values, &mut wide, &[&[*rows], old].concat(), &[&[*rows], row].concat(), &sizes);
    let shape: Vec<usize> = std::iter::once(*rows).chain(row.iter().copied()).collect();
    Tensor::from_vec(shape, wide)
}

/// Copies a tensor of sizes `old` into the beginning of each dimension of one of sizes `new`.
fn copy<T: Clone>(
    from: &[T],
    to: &mut [T],
    old: &[usize],
    new: &[usize],
    sizes: &impl Fn(&[usize]) -> usize,
) {
    let ([_, old_inner @ ..], [_, new_inner @ ..]) = (old, new) else { return };
    let (step, wide_step) = (sizes(old_inner), sizes(new_inner));
    if old_inner == new_inner {
        if let Some(to) = to.get_mut(..from.len()) {
            to.clone_from_slice(from);
        }
        return;
    }
    if step == 0 || wide_step == 0 {
        return;
    }
    for (from, to) in from.chunks(step).zip(to.chunks_mut(wide_step)) {
        copy(from, to, old_inner, new_inner, sizes);
    }
}

/// A tensor of `total` rows, cut into parts of these `sizes`; rows after the last part are
/// left out. `None` if it does not have `total` rows.
pub(crate) fn cut(tensor: &Tensor, sizes: &[usize], total: usize) -> Option<Vec<Tensor>> {
    by_type!(tensor.element_type(), cut_of, tensor, sizes, total)
}

fn cut_of<T: Element + Clone>(tensor: &Tensor, sizes: &[usize], total: usize) -> Option<Vec<Tensor>> {
    let (rows, row) = tensor.shape().split_first()?;
    if *rows != total {
        return None;
    }
    let size: usize = row.iter().product();
    let values = tensor.values::<T>()?;
    let mut start = 0_usize;
    let mut parts = Vec::with_capacity(sizes.len());
    for count in sizes {
        let end = start.checked_add(count.checked_mul(size)?)?;
        let shape: Vec<usize> = std::iter::once(*count).chain(row.iter().copied()).collect();
        parts.push(Tensor::from_vec(shape, values.get(start..end)?.to_vec())?);
        start = end;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_joined_is_cut_into_the_same(
            sizes in proptest::collection::vec(1..5_usize, 1..6), width in 0..4_usize, padding in 0..4_usize,
        ) {
            let mut next = 0;
            let parts: Vec<Tensor> = sizes.iter().map(|rows| {
                let values: Vec<i32> = (next..).take(rows * width).collect();
                next += 100;
                Tensor::from_vec(vec![*rows, width], values).unwrap()
            }).collect();
            let joined = join(&parts.iter().collect::<Vec<_>>(), padding).unwrap();
            let total = sizes.iter().sum::<usize>() + padding;
            prop_assert_eq!(joined.shape(), &[total, width]);
            prop_assert_eq!(cut(&joined, &sizes, total), Some(parts));
            prop_assert_eq!(cut(&joined, &sizes, total + 1), None);
        }
    }

    #[test]
    fn rows_are_padded_with_the_first_value() {
        let tensor = Tensor::from_vec(vec![2, 1, 2], vec![1, 2, 3, 4]).unwrap();
        let wide = Tensor::from_vec(vec![2, 2, 3], vec![1, 2, 1, 1, 1, 1, 3, 4, 1, 1, 1, 1]).unwrap();
        assert_eq!(widen(&tensor, &[2, 3]), Some(wide));
        assert_eq!(widen(&tensor, &[1, 2]).as_ref(), Some(&tensor));
        for wrong in [&[1, 1][..], &[2], &[1, 2, 1]] {
            assert_eq!(widen(&tensor, wrong), None, "{wrong:?}");
        }
        assert_eq!(widen(&Tensor::zeros(ElementType::Float, vec![1, 0]).unwrap(), &[2]), None);
        let other = Tensor::zeros(ElementType::Int32, vec![5, 3, 1]).unwrap();
        assert_eq!(largest_row(&[&tensor, &other]), [3, 2]);
    }

    #[test]
    fn what_does_not_fit_together_is_not_joined() {
        let floats = Tensor::zeros(ElementType::Float, vec![1, 2]).unwrap();
        let wide = Tensor::zeros(ElementType::Float, vec![1, 3]).unwrap();
        let texts = Tensor::zeros(ElementType::Text, vec![1, 2]).unwrap();
        assert_eq!(join(&[&floats, &wide], 0), None);
        assert_eq!(join(&[&floats, &texts], 0), None);
        assert_eq!(rows(&[floats.clone(), texts]), Some(1));
        assert_eq!(rows(&[floats, Tensor::scalar(1.0_f32)]), None);
        assert_eq!(rows(&[Tensor::zeros(ElementType::Float, vec![0, 3]).unwrap()]), None);
    }
}
