//! Makes our values of ONNX Runtime's.

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
};

use adytum_engine::{
    onnx::tensor::decode,
    operators::{Budget, OperatorError},
    tensor::{ElementType, Tensor, Text, Value, element_count},
};
use bytes::Bytes;
use ort::sys;

use super::{Failure, NativeValue, outcome};

/// Why an output can't be read.
#[derive(Clone, Debug)]
pub(crate) enum ReadFailure {
    Native(Failure),
    /// The run may not have the memory.
    Budget(OperatorError),
}

impl From<Failure> for ReadFailure {
    fn from(failure: Failure) -> Self {
        Self::Native(failure)
    }
}

impl NativeValue<'_> {
    /// A copy. What it takes is asked for first.
    pub(crate) fn read(&self, budget: &dyn Budget) -> Result<Value, ReadFailure> {
        let mut has_value: c_int = 0;
        // SAFETY: the value is alive; the call writes an integer.
        outcome(unsafe { (ort::api().HasValue)(self.pointer.as_ptr(), &raw mut has_value) })?;
        if has_value == 0 {
            return Ok(Value::Optional(None));
        }
        // An integer, since a later version may have kinds that the enumeration lacks.
        let mut kind: i32 = 0;
        // SAFETY: as above; the enumeration is an integer of this size.
        outcome(unsafe {
            (ort::api().GetValueType)(self.pointer.as_ptr(), (&raw mut kind).cast::<sys::ONNXType>())
        })?;
        if kind == sys::ONNXType::ONNX_TYPE_TENSOR as i32 {
            return Ok(Value::Tensor(self.read_tensor(budget)?));
        }
        if kind != sys::ONNXType::ONNX_TYPE_SEQUENCE as i32 {
            return Err(Failure::new(format!("the value is of the kind {kind}, no tensor")).into());
        }
        self.read_sequence(budget)
    }

    fn read_sequence(&self, budget: &dyn Budget) -> Result<Value, ReadFailure> {
        let mut count = 0_usize;
        // SAFETY: the value is a sequence; the call writes a number.
        outcome(unsafe { (ort::api().GetValueCount)(self.pointer.as_ptr(), &raw mut count) })?;
        let mut allocator = ptr::null_mut();
        // SAFETY: the call writes a pointer to ONNX Runtime's own allocator, which is never freed.
        outcome(unsafe { (ort::api().GetAllocatorWithDefaultOptions)(&raw mut allocator) })?;
        let mut tensors = Vec::new();
        for index in 0..count {
            let index = c_int::try_from(index).map_err(|_| Failure::new("the sequence is too long"))?;
            let mut part = ptr::null_mut();
            // SAFETY: the value is a sequence, ONNX Runtime checks the index, and writes a
            // pointer to a new value, which is ours.
            outcome(unsafe {
                (ort::api().GetValue)(self.pointer.as_ptr(), index, allocator, &raw mut part)
            })?;
            tensors.push(NativeValue::own(part)?.read_tensor(budget)?);
        }
        // An empty one does not say its type; the model's signature does.
        let element_type = tensors.first().map_or(ElementType::Float, Tensor::element_type);
        Ok(Value::Sequence(element_type, tensors))
    }

    fn read_tensor(&self, budget: &dyn Budget) -> Result<Tensor, ReadFailure> {
        let (element_type, shape) = self.type_and_shape()?;
        let wrong = || Failure::new(format!("the shape {shape:?} does not fit its elements"));
        let count = element_count(&shape).ok_or_else(wrong)?;
        let size = count.checked_mul(element_type.size()).ok_or_else(wrong)?;
        budget.reserve(size).map_err(ReadFailure::Budget)?;
        if element_type == ElementType::Text {
            return self.read_texts(shape, count, budget);
        }
        if count == 0 {
            return Ok(Tensor::zeros(element_type, shape.clone()).ok_or_else(wrong)?);
        }
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: the value is a tensor of numbers; the call writes where they are.
        outcome(unsafe { (ort::api().GetTensorMutableData)(self.pointer.as_ptr(), &raw mut data) })?;
        if data.is_null() {
            return Err(Failure::new("a tensor has no elements").into());
        }
        // SAFETY: a tensor of this type and shape has this many bytes there, for as long as the
        // value is alive; nothing changes them, since the run is over.
        let bytes = unsafe { slice::from_raw_parts(data.cast::<u8>().cast_const(), size) };
        Ok(decode(element_type, &shape, bytes).ok_or_else(wrong)?)
    }

    fn read_texts(
        &self,
        shape: Vec<usize>,
        count: usize,
        budget: &dyn Budget,
    ) -> Result<Tensor, ReadFailure> {
        let wrong = || Failure::new("the texts do not fit their tensor");
        if count == 0 {
            return Ok(Tensor::zeros(ElementType::Text, shape).ok_or_else(wrong)?);
        }
        let mut length = 0_usize;
        // SAFETY: the value is a tensor of texts; the call writes a number.
        outcome(unsafe { (ort::api().GetStringTensorDataLength)(self.pointer.as_ptr(), &raw mut length) })?;
        budget.reserve(length).map_err(ReadFailure::Budget)?;
        let (mut letters, mut starts) = (vec![0_u8; length], vec![0_usize; count]);
        // SAFETY: the buffers have the lengths that are given; ONNX Runtime compares them with
        // those of the texts before it writes.
        outcome(unsafe {
            (ort::api().GetStringTensorContent)(
                self.pointer.as_ptr(),
                letters.as_mut_ptr().cast(),
                letters.len(),
                starts.as_mut_ptr(),
                starts.len(),
            )
        })?;
        let letters = Bytes::from(letters);
        let ends = starts.iter().skip(1).copied().chain([length]);
        let mut texts: Vec<Text> = Vec::with_capacity(count);
        for (start, end) in starts.iter().copied().zip(ends) {
            if start > end || end > letters.len() {
                return Err(wrong().into());
            }
            texts.push(letters.slice(start..end));
        }
        Ok(Tensor::from_vec(shape, texts).ok_or_else(wrong)?)
    }

    fn type_and_shape(&self) -> Result<(ElementType, Vec<usize>), Failure> {
        let mut description = ptr::null_mut();
        // SAFETY: the value is a tensor; the call writes a pointer to a new description.
        outcome(unsafe { (ort::api().GetTensorTypeAndShape)(self.pointer.as_ptr(), &raw mut description) })?;
        let description = Description(description);
        let mut number: i32 = 0;
        // SAFETY: the description is alive; the enumeration is an integer of this size.
        outcome(unsafe {
            (ort::api().GetTensorElementType)(
                description.0,
                (&raw mut number).cast::<sys::ONNXTensorElementDataType>(),
            )
        })?;
        // ONNX Runtime has ONNX's own numbers.
        let element_type = ElementType::from_onnx(number)
            .ok_or_else(|| Failure::new(format!("the element type {number} is not computed")))?;
        let mut rank = 0_usize;
        // SAFETY: the description is alive; the call writes a number.
        outcome(unsafe { (ort::api().GetDimensionsCount)(description.0, &raw mut rank) })?;
        let mut sizes = vec![0_i64; rank];
        // SAFETY: as above; the list has the length that is given.
        outcome(unsafe { (ort::api().GetDimensions)(description.0, sizes.as_mut_ptr(), rank) })?;
        let shape: Option<Vec<usize>> = sizes.iter().map(|size| usize::try_from(*size).ok()).collect();
        let shape = shape.ok_or_else(|| Failure::new(format!("the shape {sizes:?} has a negative size")))?;
        Ok((element_type, shape))
    }
}

struct Description(*mut sys::OrtTensorTypeAndShapeInfo);

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: it is ours; a null pointer is allowed.
        unsafe { (ort::api().ReleaseTensorTypeAndShapeInfo)(self.0) };
    }
}
