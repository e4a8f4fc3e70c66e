//! ONNX Runtime's values and runs, through its C interface.
//!
//! Not through `ort`'s own types for these: they take texts only without NUL bytes and in UTF-8,
//! read a bool's byte as a Rust bool whatever it holds, can't hold an empty optional, and allow
//! one run of a model at a time. ONNX Runtime's documentation allows many: "Multiple threads can
//! invoke the Run() method on the same inference session object", which holds for the kernels of
//! processors, and no others are used here.

#![allow(unsafe_code, reason = "a C interface")]

mod read;
mod write;

pub(crate) use read::ReadFailure;

use std::{
    ffi::{CStr, c_char},
    marker::PhantomData,
    ptr::{self, NonNull},
};

use ort::{
    AsPointer, ErrorCode,
    session::{RunOptions, Session},
    sys,
};

/// What ONNX Runtime refuses.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Whether it says that an argument is wrong.
    pub(crate) is_argument: bool,
    /// ONNX Runtime's own message.
    pub(crate) message: String,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { is_argument: false, message: message.into() }
    }
}

impl From<ort::Error> for Failure {
    fn from(error: ort::Error) -> Self {
        Self { is_argument: error.code() == ErrorCode::InvalidArgument, message: error.message().to_owned() }
    }
}

/// The outcome of a call.
fn outcome(status: sys::OrtStatusPtr) -> Result<(), Failure> {
    // SAFETY: the status is what a function of the interface has just given: null, or a status
    // that this call takes over.
    Ok(unsafe { ort::Error::result_from_status(status) }?)
}

/// What ONNX Runtime calls the processor's memory.
pub(crate) struct CpuMemory(NonNull<sys::OrtMemoryInfo>);

// SAFETY: it is a description that nothing changes after it was made.
unsafe impl Send for CpuMemory {}
// SAFETY: see above.
unsafe impl Sync for CpuMemory {}

impl CpuMemory {
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut memory = ptr::null_mut();
        // SAFETY: the call writes a pointer to a new description to `memory`, which is ours.
        outcome(unsafe {
            (ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &raw mut memory,
            )
        })?;
        NonNull::new(memory).map(Self).ok_or_else(|| Failure::new("no memory description was made"))
    }
}

impl Drop for CpuMemory {
    fn drop(&mut self) {
        // SAFETY: it is ours, and values made with it keep copies.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0.as_ptr()) };
    }
}

/// A value of ONNX Runtime. It may refer to elements that live for `'a`.
pub(crate) struct NativeValue<'a> {
    pointer: NonNull<sys::OrtValue>,
    elements: PhantomData<&'a [u8]>,
}

impl NativeValue<'_> {
    /// Takes over a value that a call has just made.
    fn own(pointer: *mut sys::OrtValue) -> Result<Self, Failure> {
        NonNull::new(pointer)
            .map(|pointer| Self { pointer, elements: PhantomData })
            .ok_or_else(|| Failure::new("no value was made"))
    }
}

impl Drop for NativeValue<'_> {
    fn drop(&mut self) {
        // SAFETY: this owns the value, and nothing refers to it.
        unsafe { (ort::api().ReleaseValue)(self.pointer.as_ptr()) };
    }
}

/// Runs a model on these inputs and gives these outputs, in their order; `None` for one that has
/// no value. The outputs may share elements with the inputs.
pub(crate) fn run<'a>(
    session: &Session,
    options: &RunOptions,
    inputs: &[(&CStr, &NativeValue<'a>)],
    outputs: &[&CStr],
) -> Result<Vec<Option<NativeValue<'a>>>, Failure> {
    let input_names: Vec<*const c_char> = inputs.iter().map(|(name, _)| name.as_ptr()).collect();
    let input_values: Vec<*const sys::OrtValue> =
        inputs.iter().map(|(_, value)| value.pointer.as_ptr().cast_const()).collect();
    let output_names: Vec<*const c_char> = outputs.iter().map(|name| name.as_ptr()).collect();
    let mut output_values: Vec<*mut sys::OrtValue> = vec![ptr::null_mut(); outputs.len()];
    // SAFETY: the session and the options are alive; the lists have the lengths that are given
    // and hold pointers to C strings and values that outlive the call. The call may be made by
    // many threads at once (see above). It writes each output's value, which is then ours.
    let status = unsafe {
        (ort::api().Run)(
            session.ptr().cast_mut(),
            options.ptr(),
            input_names.as_ptr(),
            input_values.as_ptr(),
            input_values.len(),
            output_names.as_ptr(),
            output_names.len(),
            output_values.as_mut_ptr(),
        )
    };
    let values = output_values
        .into_iter()
        .map(|pointer| NonNull::new(pointer).map(|pointer| NativeValue { pointer, elements: PhantomData }))
        .collect();
    outcome(status)?;
    Ok(values)
}
