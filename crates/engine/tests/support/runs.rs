//! Loads models and runs them.

use adytum_engine::{
    engine::{Engine, LoadError, LoadedModel, Run, RunError, Source},
    onnx::{Limits, files::NoFiles},
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{Tensor, Value},
    threads::Threads,
};

pub fn load(file: Vec<u8>) -> Result<Box<dyn LoadedModel>, LoadError> {
    StaticEngine.load(Source { file, files: &NoFiles, limits: Limits::default() })
}

/// Why a file is refused.
pub fn refusal(file: Vec<u8>) -> String {
    match load(file) {
        Ok(_) => panic!("the model was loaded"),
        Err(error) => error.to_string(),
    }
}

pub fn run_within(
    model: &dyn LoadedModel,
    inputs: Vec<Tensor>,
    bytes: usize,
) -> Result<Vec<Tensor>, RunError> {
    let threads = Threads::new(1);
    let memory = Memory::new(bytes);
    let cancellation = Cancellation::default();
    let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
    let outputs: Vec<usize> = (0..model.signature().outputs.len()).collect();
    let inputs = inputs.into_iter().map(|input| Some(Value::Tensor(input))).collect();
    let outputs = model.run(inputs, &outputs, run)?;
    assert_eq!(memory.used(), 0, "all memory is given back");
    Ok(outputs.into_iter().map(|value| value.into_tensor().expect("a tensor")).collect())
}

pub fn run(file: Vec<u8>, inputs: Vec<Tensor>) -> Vec<Tensor> {
    let model = load(file).expect("the model loads");
    run_within(model.as_ref(), inputs, 1 << 30).expect("the model runs")
}
