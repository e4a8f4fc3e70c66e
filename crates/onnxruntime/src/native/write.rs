//! Makes ONNX Runtime's values of ours.

use std::{ffi::c_void, ptr};

use adytum_engine::tensor::{ElementType, Elements, Tensor, Text, Value};
use ort::sys::{self, ONNXTensorElementDataType as Native};

use super::{CpuMemory, Failure, NativeValue, outcome};

impl<'a> NativeValue<'a> {
    /// A value for a run. Numbers are not copied.
    pub(crate) fn of(value: &'a Value, memory: &CpuMemory) -> Result<Self, Failure> {
        match value {
            Value::Tensor(tensor) => Self::of_tensor(tensor, memory),
            Value::Sequence(_, tensors) => Self::of_sequence(tensors, memory),
            Value::Optional(Some(inner)) => Self::of(inner, memory),
            Value::Optional(None) => Err(Failure {
                is_argument: true,
                message: "ONNX Runtime takes no empty optional as an input".to_owned(),
            }),
        }
    }

    fn of_tensor(tensor: &'a Tensor, memory: &CpuMemory) -> Result<Self, Failure> {
        if let Some(texts) = tensor.values::<Text>() {
            return Self::of_texts(tensor.shape(), texts);
        }
        let shape = native_shape(tensor.shape())?;
        let mut value = ptr::null_mut();
        // SAFETY: the elements are as many bytes as are said, of this type, and they live for
        // `'a`, as the value does. ONNX Runtime only reads the elements of a run's inputs. The
        // call writes a pointer to a new value to `value`, which is ours.
        outcome(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.0.as_ptr(),
                address(tensor.elements()).cast_mut(),
                tensor.bytes(),
                shape.as_ptr(),
                shape.len(),
                native_type(tensor.element_type()),
                &raw mut value,
            )
        })?;
        Self::own(value)
    }

    fn of_texts(shape: &[usize], texts: &[Text]) -> Result<Self, Failure> {
        let shape = native_shape(shape)?;
        let mut allocator = ptr::null_mut();
        // SAFETY: the call writes a pointer to ONNX Runtime's own allocator, which is never freed.
        outcome(unsafe { (ort::api().GetAllocatorWithDefaultOptions)(&raw mut allocator) })?;
        let mut value = ptr::null_mut();
        // SAFETY: the allocator is alive, and the shape has the length that is given. The call
        // writes a pointer to a new value, which is ours.
        outcome(unsafe {
            (ort::api().CreateTensorAsOrtValue)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                native_type(ElementType::Text),
                &raw mut value,
            )
        })?;
        let value = Self::own(value)?;
        for (index, text) in texts.iter().enumerate() {
            let mut buffer = ptr::null_mut();
            // SAFETY: the value is a tensor of texts; ONNX Runtime checks the index, and writes
            // a pointer to as many bytes as are asked for.
            outcome(unsafe {
                (ort::api().GetResizedStringTensorElementBuffer)(
                    value.pointer.as_ptr(),
                    index,
                    text.len(),
                    &raw mut buffer,
                )
            })?;
            if !text.is_empty() && !buffer.is_null() {
                // SAFETY: the buffer has the text's length and is ONNX Runtime's own, so the
                // two do not overlap.
                unsafe { ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), text.len()) };
            }
        }
        Ok(value)
    }

    fn of_sequence(tensors: &'a [Tensor], memory: &CpuMemory) -> Result<Self, Failure> {
        if tensors.is_empty() {
            return Err(Failure {
                is_argument: true,
                message: "ONNX Runtime takes no empty sequence as an input".to_owned(),
            });
        }
        let parts: Vec<NativeValue<'a>> =
            tensors.iter().map(|tensor| Self::of_tensor(tensor, memory)).collect::<Result<_, _>>()?;
        let pointers: Vec<*const sys::OrtValue> =
            parts.iter().map(|part| part.pointer.as_ptr().cast_const()).collect();
        let mut value = ptr::null_mut();
        // SAFETY: the pointers are to values that outlive the call, which copies them. It writes
        // a pointer to a new value, which is ours.
        outcome(unsafe {
            (ort::api().CreateValue)(
                pointers.as_ptr(),
                pointers.len(),
                sys::ONNXType::ONNX_TYPE_SEQUENCE,
                &raw mut value,
            )
        })?;
        Self::own(value)
    }
}

fn native_shape(shape: &[usize]) -> Result<Vec<i64>, Failure> {
    shape
        .iter()
        .map(|size| i64::try_from(*size).map_err(|_| Failure::new("a dimension is too large")))
        .collect()
}

/// Where the elements are; for texts nothing that ONNX Runtime could use.
fn address(elements: &Elements) -> *const c_void {
    match elements {
        Elements::Float(values) => values.as_ptr().cast(),
        Elements::Double(values) => values.as_ptr().cast(),
        Elements::Half(values) => values.as_ptr().cast(),
        Elements::Bfloat16(values) => values.as_ptr().cast(),
        Elements::Int8(values) => values.as_ptr().cast(),
        Elements::Int16(values) => values.as_ptr().cast(),
        Elements::Int32(values) => values.as_ptr().cast(),
        Elements::Int64(values) => values.as_ptr().cast(),
        Elements::Uint8(values) => values.as_ptr().cast(),
        Elements::Uint16(values) => values.as_ptr().cast(),
        Elements::Uint32(values) => values.as_ptr().cast(),
        Elements::Uint64(values) => values.as_ptr().cast(),
        Elements::Bool(values) => values.as_ptr().cast(),
        Elements::Text(_) => ptr::null(),
    }
}

pub(super) fn native_type(element_type: ElementType) -> Native {
    match element_type {
        ElementType::Float => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        ElementType::Double => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        ElementType::Half => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        ElementType::Bfloat16 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        ElementType::Int8 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        ElementType::Int16 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        ElementType::Int32 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        ElementType::Int64 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        ElementType::Uint8 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        ElementType::Uint16 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        ElementType::Uint32 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        ElementType::Uint64 => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        ElementType::Bool => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        ElementType::Text => Native::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}
