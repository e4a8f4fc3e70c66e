//! Operators given what no exporter writes: attributes, shapes and indices far out of
//! range, other types, inputs left out. Each must answer or say why not; none may panic,
//! run long or take memory that was not asked for.
//!
//! The start is every case of `cases/`; HOSTILE_ROUNDS says how often each is changed (2).

mod json;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use adytum_engine::{
    operators::{
        Attribute, Attributes, Budget, Cancellation, Context, Definition, Input, OperatorError, find,
    },
    tensor::{ElementType, Tensor, Value, ValueType, element_count},
};

/// 64 MiB for each tensor.
struct Small;

impl Budget for Small {
    fn reserve(&self, bytes: usize) -> Result<(), OperatorError> {
        let limit = 1 << 26;
        if bytes > limit { Err(OperatorError::Budget { requested: bytes, limit }) } else { Ok(()) }
    }
}

/// Numbers that only look random: the same at every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }

    fn number(&mut self) -> i64 {
        const NUMBERS: [i64; 20] = [
            0,
            1,
            -1,
            2,
            -2,
            3,
            5,
            7,
            100,
            -100,
            1 << 20,
            1 << 30,
            (1 << 31) - 1,
            1 << 31,
            1 << 40,
            -(1 << 40),
            i64::MAX,
            i64::MAX - 1,
            i64::MIN,
            i64::MIN + 1,
        ];
        NUMBERS[self.next(NUMBERS.len())]
    }

    fn float(&mut self) -> f32 {
        const NUMBERS: [f32; 12] =
            [0.0, -0.0, 1.0, -1.0, 0.5, 1e-38, 1e38, -1e38, 1e9, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        NUMBERS[self.next(NUMBERS.len())]
    }

    fn list(&mut self, values: &[i64]) -> Vec<i64> {
        let mut values = values.to_vec();
        match self.next(4) {
            0 => {
                values.pop();
            }
            1 => {
                let number = self.number();
                values.push(number);
            }
            _ => {
                for value in &mut values {
                    if self.next(2) == 0 {
                        *value = self.number();
                    }
                }
            }
        }
        values
    }

    fn attribute(&mut self, attribute: &Attribute) -> Attribute {
        match attribute {
            Attribute::Integer(_) => Attribute::Integer(self.number()),
            Attribute::Integers(values) => Attribute::Integers(self.list(values)),
            Attribute::Float(_) => Attribute::Float(self.float()),
            Attribute::Floats(values) => {
                Attribute::Floats(values.iter().map(|_| self.float()).chain([1.0]).collect())
            }
            other => other.clone(),
        }
    }

    /// The same elements in another shape, other elements, or a tensor of another type.
    fn tensor(&mut self, tensor: &Tensor) -> Tensor {
        let shape = tensor.shape().to_vec();
        if let (Some(values), true) = (tensor.values::<i64>(), self.next(3) > 0) {
            let values = values.iter().map(|value| if self.next(2) == 0 { self.number() } else { *value });
            return Tensor::from_vec(shape, values.collect()).unwrap();
        }
        if let (Some(values), true) = (tensor.values::<i32>(), self.next(3) > 0) {
            let values = values.iter().map(|_| self.number() as i32);
            return Tensor::from_vec(shape, values.collect()).unwrap();
        }
        if let (Some(values), true) = (tensor.values::<f32>(), self.next(3) == 0) {
            let values = values.iter().map(|value| if self.next(4) == 0 { self.float() } else { *value });
            return Tensor::from_vec(shape, values.collect()).unwrap();
        }
        let mut other = shape.clone();
        match self.next(8) {
            0 => other.insert(0, 1),
            1 => other.push(1),
            2 => {
                other.pop();
            }
            3 => other.reverse(),
            4 => other = Vec::new(),
            5 => other.push(0),
            6 => {
                let place = self.next(other.len());
                if let Some(size) = other.get_mut(place) {
                    *size = 0;
                }
            }
            _ => {
                let place = self.next(other.len());
                if let Some(size) = other.get_mut(place) {
                    *size = self.next(6);
                }
                if self.next(6) == 0 {
                    other.push(0);
                    other.push(1 << self.next(62));
                }
            }
        }
        if element_count(&other).is_none_or(|count| count > 1 << 20) {
            other = vec![0];
        }
        let element_type =
            if self.next(8) == 0 { ElementType::ALL[self.next(14)] } else { tensor.element_type() };
        if element_type == tensor.element_type()
            && let Some(reshaped) = tensor.clone().reshaped(other.clone())
        {
            return reshaped;
        }
        Tensor::zeros(element_type, other).unwrap()
    }
}

fn run(case: &json::Case, inputs: &[Option<Value>], attributes: &Attributes, opset: i64, outputs: usize) {
    let types: Vec<Option<ValueType>> =
        inputs.iter().map(|input| input.as_ref().map(json::value_type)).collect();
    let known: Vec<Option<Input<'_>>> = types
        .iter()
        .map(|known| known.as_ref().map(|value_type| Input { value_type, constant: None }))
        .collect();
    let definition = Definition { operator: &case.operator, opset, attributes, inputs: &known, outputs };
    let builder = find(&case.domain, &case.operator).expect("an operator that is there");
    let Ok(built) = builder(&definition) else { return };
    let cancellation = Cancellation::default();
    let Ok(results) = built.operator.run(inputs.to_vec(), &Context::new(&Small, &cancellation)) else {
        return;
    };
    for (result, promised) in results.iter().zip(&built.types) {
        assert_eq!(json::value_type(result), *promised, "an output is of another type than was said");
    }
}

/// Ends the process, and says what ran, if one case runs for more than a minute: a loop
/// that does not end can't be stopped otherwise.
fn watch(current: Arc<Mutex<Option<(String, Instant)>>>) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let current = current.lock().unwrap();
            if let Some((what, start)) = current.as_ref()
                && start.elapsed() > Duration::from_secs(60)
            {
                eprintln!("runs for more than a minute: {what}");
                std::process::exit(1);
            }
        }
    });
}

#[test]
fn hostile_nodes_are_answered_or_refused() {
    let rounds: usize = std::env::var("HOSTILE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut dice = Dice(2026);
    let mut faults = BTreeMap::<String, Vec<String>>::new();
    let current = Arc::new(Mutex::new(None));
    watch(current.clone());
    for case in json::cases() {
        for _ in 0..rounds {
            let mut inputs = case.inputs.clone();
            let mut attributes = case.attributes.clone();
            let (mut opset, mut outputs) = (case.opset, case.outputs.len());
            for _ in 0..1 + dice.next(2) {
                match dice.next(10) {
                    0..4 if attributes.iter().next().is_some() => {
                        let names: Vec<String> = attributes.names().map(str::to_owned).collect();
                        let name = &names[dice.next(names.len())];
                        let changed = attributes
                            .iter()
                            .find(|(own, _)| own == name)
                            .map(|(_, value)| dice.attribute(value));
                        attributes.set(name, changed.unwrap());
                    }
                    0..8 => {
                        let place = dice.next(inputs.len());
                        if let Some(Some(Value::Tensor(tensor))) = inputs.get(place) {
                            inputs[place] = Some(dice.tensor(tensor).into());
                        }
                    }
                    8 => {
                        let place = dice.next(inputs.len());
                        if let Some(input) = inputs.get_mut(place) {
                            *input = None;
                        }
                    }
                    _ => {
                        opset = 7 + dice.next(20) as i64;
                        outputs = 1 + dice.next(4);
                    }
                }
            }
            let shapes: Vec<String> = inputs
                .iter()
                .map(|input| match input {
                    Some(Value::Tensor(tensor)) if tensor.len() < 9 => {
                        format!("{:?} {:?}", tensor.shape(), tensor.elements())
                    }
                    Some(Value::Tensor(tensor)) => format!("{} {:?}", tensor.element_type(), tensor.shape()),
                    Some(_) => "other".to_owned(),
                    None => "none".to_owned(),
                })
                .collect();
            let what = format!("{} opset {opset}, {attributes:?}, {shapes:?}", case.operator);
            let start = Instant::now();
            *current.lock().unwrap() = Some((what.clone(), start));
            let result = catch_unwind(AssertUnwindSafe(|| run(&case, &inputs, &attributes, opset, outputs)));
            *current.lock().unwrap() = None;
            if result.is_err() {
                faults.entry(case.operator.clone()).or_default().push(format!("panics: {what}"));
            } else if start.elapsed() > Duration::from_secs(20) {
                faults.entry(case.operator.clone()).or_default().push(format!("runs long: {what}"));
            }
        }
    }
    let lines = faults.iter().map(|(operator, all)| {
        format!(
            "{operator}: {} faults\n    {}\n",
            all.len(),
            all.iter().take(4).cloned().collect::<Vec<_>>().join("\n    ")
        )
    });
    assert!(faults.is_empty(), "{}", lines.collect::<String>());
}
