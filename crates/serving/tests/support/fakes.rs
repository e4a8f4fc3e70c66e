//! Models that do what real ones do only by accident.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use adytum_engine::{
    engine::{LoadedModel, Run, RunError, Signature, Specification},
    plan::Plan,
    tensor::{ElementType, Value, ValueType},
};

fn signature() -> Signature {
    let tensor = |name: &str| Specification {
        name: name.to_owned(),
        value_type: ValueType::Tensor(ElementType::Float),
        // Not fixed, so that there is no warm-up.
        shape: None,
    };
    Signature { inputs: vec![tensor("x")], outputs: vec![tensor("y")] }
}

/// Panics.
pub struct Panicking(Signature);

impl Panicking {
    pub fn new() -> Self {
        Self(signature())
    }
}

impl LoadedModel for Panicking {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn metadata(&self) -> &[(String, String)] {
        &[]
    }

    fn plan(&self) -> Option<&Plan> {
        None
    }

    fn needed_inputs(&self, _: &[usize]) -> Vec<bool> {
        vec![true; self.0.inputs.len()]
    }

    fn run(&self, _: Vec<Option<Value>>, _: &[usize], _: Run<'_>) -> Result<Vec<Value>, RunError> {
        panic!("as the test wants it");
    }
}

/// Runs until it is let go, and remembers how many cores each run had.
#[derive(Clone)]
pub struct Gated {
    signature: Arc<Signature>,
    gate: Arc<(Mutex<bool>, Condvar)>,
    pub begun: Arc<AtomicUsize>,
    pub cores: Arc<Mutex<Vec<usize>>>,
}

impl Gated {
    pub fn new() -> Self {
        Self {
            signature: Arc::new(signature()),
            gate: Arc::default(),
            begun: Arc::default(),
            cores: Arc::default(),
        }
    }

    pub fn open(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }

    /// Waits until `count` runs have begun.
    pub async fn wait_for_runs(&self, count: usize) {
        while self.begun.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

impl LoadedModel for Gated {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn metadata(&self) -> &[(String, String)] {
        &[]
    }

    fn plan(&self) -> Option<&Plan> {
        None
    }

    fn needed_inputs(&self, _: &[usize]) -> Vec<bool> {
        vec![true; self.signature.inputs.len()]
    }

    fn run(&self, inputs: Vec<Option<Value>>, _: &[usize], run: Run<'_>) -> Result<Vec<Value>, RunError> {
        self.cores.lock().unwrap().push(run.threads.count());
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut open = self.gate.0.lock().unwrap();
        while !*open {
            open = self.gate.1.wait(open).unwrap();
        }
        Ok(inputs.into_iter().flatten().collect())
    }
}
