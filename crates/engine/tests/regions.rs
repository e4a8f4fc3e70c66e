//! Compiled regions answer as our own operators do, node by node: random graphs of what regions are made
//! of, at each level of instructions, for several sizes of inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use std::collections::HashMap;

use adytum_engine::{
    difference::difference,
    engine::{LoadedModel, Run},
    operators::{Attribute as Setting, Attributes, Cancellation, Context, Definition, Input, Memory, find},
    plan::Worker,
    precision::Precision,
    tensor::{Tensor, Value, ValueType},
    threads::Threads,
};
use adytum_kernels::{Level, limit};
use fixture::{
    onnx::{Attribute, FLOAT, floats, longs, model, node, value},
    runs::{load, load_narrow},
};

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() % 4001) as f32 / 2000.0 - 1.0).collect()
    }
}

/// A node of a random graph.
struct Built {
    operator: &'static str,
    inputs: Vec<String>,
    outputs: Vec<String>,
    settings: Vec<(&'static str, Setting)>,
}

/// A random graph of images.
#[derive(Default)]
struct Graph {
    nodes: Vec<Built>,
    constants: Vec<(String, Tensor)>,
    /// Values with their channels and sizes.
    values: Vec<(String, [usize; 3])>,
}

impl Graph {
    fn constant(&mut self, tensor: Tensor) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.push((name.clone(), tensor));
        name
    }

    fn add(
        &mut self,
        operator: &'static str,
        inputs: Vec<String>,
        settings: Vec<(&'static str, Setting)>,
    ) -> String {
        let output = format!("v{}", self.nodes.len());
        self.nodes.push(Built { operator, inputs, outputs: vec![output.clone()], settings });
        output
    }

    fn convolution(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        let is_depthwise = random.below(4) == 0 && channels > 1;
        let groups = if is_depthwise {
            channels
        } else {
            let groups: Vec<usize> = (1..=8).filter(|groups| channels.is_multiple_of(*groups)).collect();
            random.one(&groups)
        };
        let outputs = match groups {
            1 => random.one(&[1, 3, 8, 16, 20, 33, 48]),
            _ if is_depthwise => channels * random.one(&[1, 1, 2, 3]),
            _ => groups * random.one(&[1, 4, 5, 8, 16]),
        };
        let kernel = [random.below(3) + 1, random.below(3) + 1];
        let (strides, dilations) = ([random.below(2) + 1, random.below(2) + 1], [random.one(&[1, 2, 7]), 1]);
        let mut settings = vec![
            ("group", Setting::Integer(groups as i64)),
            ("strides", list(&strides)),
            ("dilations", list(&dilations)),
        ];
        let extent = [0, 1].map(|axis| (kernel[axis] - 1) * dilations[axis] + 1);
        let mut size = [height, width];
        if random.below(3) == 0 {
            let mode = random.one(&["SAME_UPPER", "SAME_LOWER"]);
            settings.push(("auto_pad", Setting::Text(mode.as_bytes().to_vec().into())));
            size = [0, 1].map(|axis| size[axis].div_ceil(strides[axis]));
        } else {
            let most = if dilations[0] > 2 { 16 } else { 3 };
            let pads = [random.below(most), random.below(3), random.below(most), random.below(3)];
            if (0..2).any(|axis| size[axis] + pads[axis] + pads[axis + 2] < extent[axis]) {
                return;
            }
            size = [0, 1]
                .map(|axis| (size[axis] + pads[axis] + pads[axis + 2] - extent[axis]) / strides[axis] + 1);
            settings.push(("pads", list(&pads)));
        }
        let shape = [outputs, channels / groups, kernel[0], kernel[1]];
        let count = shape.iter().product::<usize>();
        let scale = (2.0 / (count / outputs) as f32).sqrt();
        let weights = random.numbers(count).into_iter().map(|weight| weight * scale).collect();
        let weights = self.constant(Tensor::from_vec(shape.to_vec(), weights).unwrap());
        let mut inputs = vec![input, weights];
        if random.below(2) == 0 {
            inputs.push(self.constant(Tensor::vector(random.numbers(outputs))));
        }
        let output = self.add("Conv", inputs, settings);
        self.values.push((output, [outputs, size[0], size[1]]));
    }

    fn unary(&mut self, random: &mut Random) {
        let (input, size) = random.pick(&self.values);
        let channels = size[0];
        let operator = random.one(&[
            "Relu",
            "Clip",
            "Sigmoid",
            "HardSwish",
            "LeakyRelu",
            "Tanh",
            "BatchNormalization",
            "Mul",
            "Add",
            "Sub",
            "Gate",
            "Gelu",
            "InstanceNormalization",
            "PRelu",
            "Identity",
        ]);
        let mut inputs = vec![input.clone()];
        match operator {
            "Clip" => {
                inputs.push(self.constant(Tensor::scalar(-0.25_f32)));
                inputs.push(self.constant(Tensor::scalar(0.5_f32)));
            }
            "BatchNormalization" => {
                for shift in [0.0, 0.0, 0.0, 1.5] {
                    let values = random.numbers(channels).into_iter().map(|value| value + shift).collect();
                    inputs.push(self.constant(Tensor::vector(values)));
                }
            }
            "InstanceNormalization" => {
                inputs.push(self.constant(Tensor::vector(random.numbers(channels))));
                inputs.push(self.constant(Tensor::vector(random.numbers(channels))));
            }
            "PRelu" => {
                inputs.push(self.constant(Tensor::from_vec(vec![1, 1, 1], vec![0.2_f32]).unwrap()));
            }
            "Gelu" => {
                let mut number = |value: f32| self.constant(Tensor::scalar(value));
                let [root, one, half] = [2.0_f32.sqrt(), 1.0, 0.5].map(&mut number);
                let part = self.add("Div", vec![input.clone(), root], vec![]);
                let error = self.add("Erf", vec![part], vec![]);
                let sum = self.add("Add", vec![error, one], vec![]);
                let product = self.add("Mul", vec![input, sum], vec![]);
                let output = self.add("Mul", vec![product, half], vec![]);
                self.values.push((output, size));
                return;
            }
            "Mul" | "Add" | "Sub" => {
                let shape = random.one(&[[1, channels, 1, 1], [1, 1, 1, 1]]);
                let values = random.numbers(shape[1]);
                inputs.push(self.constant(Tensor::from_vec(shape.to_vec(), values).unwrap()));
                if random.below(2) == 0 {
                    inputs.reverse();
                }
            }
            "Gate" => {
                let gate = self.add("Sigmoid", inputs, vec![]);
                let output = self.add("Mul", vec![input, gate], vec![]);
                self.values.push((output, size));
                return;
            }
            _ => {}
        }
        let output = self.add(operator, inputs, vec![]);
        self.values.push((output, size));
    }

    fn pool(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        let operator = random.one(&["MaxPool", "AveragePool", "GlobalAveragePool"]);
        if operator == "GlobalAveragePool" {
            let output = self.add(operator, vec![input], vec![]);
            self.values.push((output, [channels, 1, 1]));
            return;
        }
        if height < 2 || width < 2 {
            return;
        }
        let stride = random.below(2) + 1;
        let pad = random.below(2);
        let ceil = random.below(2);
        let mut settings = vec![
            ("kernel_shape", list(&[2, 2])),
            ("strides", list(&[stride, stride])),
            ("pads", list(&[pad, 0, 0, pad])),
            ("ceil_mode", Setting::Integer(ceil as i64)),
        ];
        if operator == "AveragePool" {
            settings.push(("count_include_pad", Setting::Integer(random.below(2) as i64)));
        }
        let along = |size: usize, before: usize| {
            let room = size + pad - 2;
            let count = if ceil == 1 { room.div_ceil(stride) } else { room / stride } + 1;
            if ceil == 1 && count > 1 && (count - 1) * stride >= size + before { count - 1 } else { count }
        };
        let size = [channels, along(height, pad), along(width, 0)];
        let output = self.add(operator, vec![input], settings);
        self.values.push((output, size));
    }

    fn pair(&mut self, random: &mut Random) {
        let (left, size) = random.pick(&self.values);
        let others: Vec<(String, [usize; 3])> = self
            .values
            .iter()
            .filter(|(_, other)| *other == size || *other == [size[0], 1, 1])
            .cloned()
            .collect();
        let (right, _) = random.pick(&others);
        let operator = random.one(&["Add", "Mul", "Sub", "Add"]);
        let output = self.add(operator, vec![left, right], vec![]);
        self.values.push((output, size));
    }

    fn join(&mut self, random: &mut Random) {
        let (first, size) = random.pick(&self.values);
        let others: Vec<(String, [usize; 3])> =
            self.values.iter().filter(|(_, other)| other[1..] == size[1..]).cloned().collect();
        let (second, other) = random.pick(&others);
        if size[0] + other[0] > 90 {
            return;
        }
        let output = self.add("Concat", vec![first, second], vec![("axis", Setting::Integer(1))]);
        self.values.push((output, [size[0] + other[0], size[1], size[2]]));
    }

    fn part(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        if random.below(2) == 0 && height * width < 200 {
            let scales = self.constant(Tensor::vector(vec![1.0_f32, 1.0, 2.0, 3.0]));
            let settings = vec![
                ("mode", Setting::Text(b"nearest".to_vec().into())),
                ("coordinate_transformation_mode", Setting::Text(b"asymmetric".to_vec().into())),
                ("nearest_mode", Setting::Text(b"floor".to_vec().into())),
            ];
            let output = self.add("Resize", vec![input, String::new(), scales], settings);
            self.values.push((output, [channels, height * 2, width * 3]));
            return;
        }
        if random.below(2) == 0 && height * width < 200 {
            let outputs = random.one(&[3, 16, 20]);
            let shape = vec![channels, outputs, 2, 3];
            let weights =
                self.constant(Tensor::from_vec(shape, random.numbers(channels * outputs * 6)).unwrap());
            let bias = self.constant(Tensor::vector(random.numbers(outputs)));
            let settings = vec![("strides", list(&[2, 3]))];
            let output = self.add("ConvTranspose", vec![input, weights, bias], settings);
            self.values.push((output, [outputs, height * 2, width * 3]));
            return;
        }
        match random.below(4) {
            0 => return self.resized(random),
            1 => return self.surrounded(random),
            2 => return self.spread(random),
            _ => {}
        }
        if channels < 2 {
            return;
        }
        let first = random.below(channels - 1) + 1;
        let sizes = self.constant(Tensor::vector(vec![first as i64, (channels - first) as i64]));
        let left = self.add("Split", vec![input, sizes], vec![("axis", Setting::Integer(1))]);
        let right = format!("{left}b");
        self.nodes.last_mut().unwrap().outputs.push(right.clone());
        self.values.push((left, [first, height, width]));
        self.values.push((right, [channels - first, height, width]));
    }

    /// Another size, by factors or by sizes.
    fn resized(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        if height * width > 200 {
            return;
        }
        let mode = random.one(&["linear", "linear", "nearest"]);
        let coordinates = random.one(&["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]);
        let mut settings = vec![
            ("mode", Setting::Text(mode.as_bytes().to_vec().into())),
            ("coordinate_transformation_mode", Setting::Text(coordinates.as_bytes().to_vec().into())),
        ];
        if mode == "nearest" {
            settings.push(("nearest_mode", Setting::Text(b"floor".to_vec().into())));
        }
        let factors = [random.one(&[1.0, 2.0, 1.5, 0.5]), random.one(&[1.0, 2.0, 3.0, 0.75])];
        let size = [(height as f32 * factors[0]) as usize, (width as f32 * factors[1]) as usize];
        if size.contains(&0) {
            return;
        }
        let scales = self.constant(Tensor::vector(vec![1.0_f32, 1.0, factors[0], factors[1]]));
        let output = self.add("Resize", vec![input, String::new(), scales], settings);
        self.values.push((output, [channels, size[0], size[1]]));
    }

    /// Pixels around an image, or fewer of them.
    fn surrounded(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        if height < 3 || width < 3 || height * width > 200 {
            return;
        }
        let mode = random.one(&["constant", "reflect", "edge"]);
        let ends: Vec<i64> = (0..4).map(|_| random.below(4) as i64 - 1).collect();
        let pads = self.constant(Tensor::vector(vec![0, 0, ends[0], ends[1], 0, 0, ends[2], ends[3]]));
        let mut inputs = vec![input, pads];
        if mode == "constant" && random.below(2) == 0 {
            inputs.push(self.constant(Tensor::scalar(0.75_f32)));
        }
        let settings = vec![("mode", Setting::Text(mode.as_bytes().to_vec().into()))];
        let output = self.add("Pad", inputs, settings);
        let along = |size: usize, axis: usize| (size as i64 + ends[axis] + ends[axis + 2]) as usize;
        self.values.push((output, [channels, along(height, 0), along(width, 1)]));
    }

    /// A transposed convolution whose windows overlap, or leave gaps.
    fn spread(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        if height * width > 200 {
            return;
        }
        let outputs = random.one(&[3, 16, 20]);
        let window = [random.below(5) + 1, random.below(5) + 1];
        let strides = [random.below(3) + 1, random.below(3) + 1];
        let mut pads = [0; 4];
        let mut extra = [0; 2];
        let mut size = [height, width];
        for axis in 0..2 {
            pads[axis] = random.below(window[axis]);
            pads[axis + 2] = random.below(window[axis]);
            extra[axis] = random.below(strides[axis]);
            let whole = (size[axis] - 1) * strides[axis] + window[axis] + extra[axis];
            let Some(left) = whole.checked_sub(pads[axis] + pads[axis + 2]).filter(|left| *left > 0) else {
                return;
            };
            size[axis] = left;
        }
        let shape = vec![channels, outputs, window[0], window[1]];
        let weights = random.numbers(shape.iter().product());
        let weights = self.constant(Tensor::from_vec(shape, weights).unwrap());
        let settings =
            vec![("strides", list(&strides)), ("pads", list(&pads)), ("output_padding", list(&extra))];
        let output = self.add("ConvTranspose", vec![input, weights], settings);
        self.values.push((output, [outputs, size[0], size[1]]));
    }

    /// A normalization in groups, as exporters write it, and a run of channels.
    fn grouped(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        let groups = random.one(&[1, 2, 4]);
        if !channels.is_multiple_of(groups) {
            return;
        }
        let shape = self.constant(Tensor::vector(vec![0, groups as i64, -1]));
        let rows = self.add("Reshape", vec![input, shape], vec![]);
        let scale = self.constant(Tensor::vector(random.numbers(groups)));
        let bias = self.constant(Tensor::vector(random.numbers(groups)));
        let settings = vec![("epsilon", Setting::Float(0.01))];
        let rows = self.add("InstanceNormalization", vec![rows, scale, bias], settings);
        let shape =
            self.constant(Tensor::vector([0, channels, height, width].map(|size| size as i64).to_vec()));
        let output = self.add("Reshape", vec![rows, shape], vec![]);
        self.values.push((output.clone(), [channels, height, width]));
        let first = random.below(channels);
        let mut one = |number: i64| self.constant(Tensor::vector(vec![number]));
        let bounds = [first as i64, i64::MAX, 1].map(&mut one);
        let inputs = std::iter::once(output).chain(bounds).collect();
        let output = self.add("Slice", inputs, vec![]);
        self.values.push((output, [channels - first, height, width]));
    }

    /// Reads the channels as a matrix, and writes its columns first.
    fn shuffle(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = random.pick(&self.values);
        let groups = [2, 3, 4].into_iter().find(|groups| channels.is_multiple_of(*groups));
        let Some(groups) = groups else { return };
        let shape = [0, groups, channels / groups, height, width].map(|size| size as i64).to_vec();
        let shape = self.constant(Tensor::vector(shape));
        let matrix = self.add("Reshape", vec![input, shape], vec![]);
        let columns = self.add("Transpose", vec![matrix], vec![("perm", list(&[0, 2, 1, 3, 4]))]);
        let shape =
            self.constant(Tensor::vector([0, channels, height, width].map(|size| size as i64).to_vec()));
        let output = self.add("Reshape", vec![columns, shape], vec![]);
        self.values.push((output, [channels, height, width]));
    }

    fn random(random: &mut Random) -> Self {
        let channels = random.one(&[1, 3, 5, 16, 19]);
        let size = [channels, random.below(14) + 3, random.below(14) + 3];
        let mut graph = Self { values: vec![("x".to_owned(), size)], ..Self::default() };
        graph.convolution(random);
        for _ in 0..random.below(14) + 2 {
            match random.below(14) {
                0..4 => graph.convolution(random),
                4..7 => graph.unary(random),
                7 => graph.pool(random),
                8..10 => graph.pair(random),
                10 => graph.join(random),
                11 => graph.shuffle(random),
                12 => graph.grouped(random),
                _ => graph.part(random),
            }
        }
        graph
    }

    /// Values that nobody takes, and one more.
    fn outputs(&self, random: &mut Random) -> Vec<(String, [usize; 3])> {
        let taken = |name: &str| self.nodes.iter().any(|node| node.inputs.iter().any(|input| input == name));
        let made = &self.values[1..];
        let mut outputs: Vec<_> = made.iter().filter(|(name, _)| !taken(name)).cloned().collect();
        let more = random.pick(made);
        if !outputs.contains(&more) {
            outputs.push(more);
        }
        outputs
    }

    fn file(&self, outputs: &[(String, [usize; 3])]) -> Vec<u8> {
        let nodes: Vec<Vec<u8>> = self
            .nodes
            .iter()
            .map(|built| {
                let inputs: Vec<&str> = built.inputs.iter().map(String::as_str).collect();
                let outputs: Vec<&str> = built.outputs.iter().map(String::as_str).collect();
                let settings: Vec<Attribute<'_>> = built
                    .settings
                    .iter()
                    .map(|(name, setting)| match setting {
                        Setting::Integer(number) => Attribute::Integer(name, *number),
                        Setting::Float(number) => Attribute::Float(name, *number),
                        Setting::Integers(numbers) => Attribute::Integers(name, numbers),
                        Setting::Text(text) => Attribute::Text(name, std::str::from_utf8(text).unwrap()),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                node(built.operator, &inputs, &outputs, &settings)
            })
            .collect();
        let constants: Vec<Vec<u8>> = self
            .constants
            .iter()
            .map(|(name, tensor)| {
                let shape: Vec<i64> = tensor.shape().iter().map(|size| *size as i64).collect();
                match tensor.values::<f32>() {
                    Some(values) => floats(name, &shape, values),
                    None => longs(name, &shape, tensor.values::<i64>().unwrap()),
                }
            })
            .collect();
        let port = |(name, size): &(String, [usize; 3])| {
            value(name, FLOAT, &[-1, size[0] as i64, size[1] as i64, size[2] as i64])
        };
        let outputs: Vec<Vec<u8>> = outputs.iter().map(port).collect();
        model(&nodes, &[port(&self.values[0])], &outputs, &constants)
    }

    /// All values by our own operators, one after the other.
    fn by_operators(&self, input: Tensor) -> HashMap<String, Tensor> {
        self.by_operators_with(input, |value| value)
    }

    /// How far the value of this name moves if each number on the way to it is off by up to two units of its last place:
    /// normalizations of images whose pixels are nearly the same make much of that.
    fn sensitivity(&self, input: Tensor, name: &str, exact: &Tensor) -> f32 {
        let exact = exact.values::<f32>().unwrap();
        let mut largest = 0.0_f32;
        for seed in 1..6 {
            let mut random = Random(seed);
            let moved = self.by_operators_with(input.clone(), |value| {
                let numbers = value.values::<f32>().unwrap();
                let numbers = numbers
                    .iter()
                    .map(|number| number * (1.0 + (random.below(5) as f32 - 2.0) * f32::EPSILON));
                Tensor::from_vec(value.shape().to_vec(), numbers.collect::<Vec<_>>()).unwrap()
            });
            for (moved, exact) in moved[name].values::<f32>().unwrap().iter().zip(exact) {
                largest = largest.max((moved - exact).abs());
            }
        }
        largest
    }

    /// The same, with each value changed before it is taken.
    fn by_operators_with(
        &self,
        input: Tensor,
        mut change: impl FnMut(Tensor) -> Tensor,
    ) -> HashMap<String, Tensor> {
        let mut known: HashMap<String, Tensor> = self.constants.iter().cloned().collect();
        known.insert("x".to_owned(), input);
        for built in &self.nodes {
            let inputs: Vec<Option<Tensor>> =
                built.inputs.iter().map(|name| known.get(name).cloned()).collect();
            let types: Vec<Option<ValueType>> =
                inputs.iter().map(|input| Some(ValueType::Tensor(input.as_ref()?.element_type()))).collect();
            let attributes: Attributes =
                built.settings.iter().map(|(name, setting)| ((*name).to_owned(), setting.clone())).collect();
            let given: Vec<Option<Input<'_>>> = types
                .iter()
                .zip(&inputs)
                .map(|(value_type, constant)| {
                    Some(Input { value_type: value_type.as_ref()?, constant: constant.as_ref() })
                })
                .collect();
            let definition = Definition {
                operator: built.operator,
                opset: 17,
                attributes: &attributes,
                inputs: &given,
                outputs: built.outputs.len(),
            };
            let operator = find("", built.operator).unwrap()(&definition).unwrap().operator;
            let (memory, cancellation) = (Memory::new(1 << 30), Cancellation::default());
            let inputs = inputs.into_iter().map(|input| input.map(Value::Tensor)).collect();
            let found = operator.run(inputs, &Context::new(&memory, &cancellation)).unwrap();
            for (name, value) in built.outputs.iter().zip(found) {
                known.insert(name.clone(), change(value.into_tensor().unwrap()));
            }
        }
        known
    }
}

impl Random {
    fn pick(&mut self, list: &[(String, [usize; 3])]) -> (String, [usize; 3]) {
        list[self.below(list.len())].clone()
    }
}

fn list(values: &[usize]) -> Setting {
    Setting::Integers(values.iter().map(|value| *value as i64).collect())
}

/// The wanted outputs of a model.
fn answers(model: &dyn LoadedModel, input: &Tensor, wanted: &[usize], threads: &Threads) -> Vec<Tensor> {
    let (memory, cancellation) = (Memory::new(1 << 30), Cancellation::default());
    let run = Run { threads, budget: &memory, cancellation: &cancellation };
    let found = model.run(vec![Some(Value::Tensor(input.clone()))], wanted, run).unwrap();
    assert_eq!(memory.used(), 0, "all memory is given back");
    found.into_iter().map(|value| value.into_tensor().unwrap()).collect()
}

/// `spread` is asked for if the values are off by more than a ten-thousandth of the largest one.
fn assert_near(found: &Tensor, expected: &Tensor, what: &str, spread: impl FnOnce() -> f32) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let (found, expected) = (found.values::<f32>().unwrap(), expected.values::<f32>().unwrap());
    let largest = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    let off = |allowed: f32| {
        let is_off = |(found, expected): &(&f32, &f32)| {
            let distance = (*found - *expected).abs();
            distance.is_nan() || distance > allowed
        };
        found.iter().zip(expected).find(is_off)
    };
    if let Some((found, exact)) = off(1e-4 * largest) {
        let spread = spread();
        let is_near = spread < 0.1 * largest && off(1e-4 * largest + 4.0 * spread).is_none();
        assert!(is_near, "{what}: {found} and not {exact}, whose spread is {spread}");
    }
}

/// One test: the limit holds for the whole process.
#[test]
fn random_graphs_are_answered_as_by_our_operators() {
    let count = std::env::var("REGION_GRAPHS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 24 } else { 500 });
    let threads = [Threads::new(1), Threads::new(3)];
    let mut regions = 0;
    for seed in 0..count {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1_0000_0001));
        let graph = Graph::random(&mut random);
        // None of the random nodes had inputs that fit.
        if graph.nodes.is_empty() {
            continue;
        }
        let outputs = graph.outputs(&mut random);
        let file = graph.file(&outputs);
        let size = graph.values[0].1;
        let inputs: Vec<Tensor> = [1, 3]
            .into_iter()
            .map(|batch| {
                let values = random.numbers(batch * size.iter().product::<usize>());
                Tensor::from_vec([batch, size[0], size[1], size[2]], values).unwrap()
            })
            .collect();
        let expected: Vec<HashMap<String, Tensor>> =
            inputs.iter().map(|input| graph.by_operators(input.clone())).collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            limit(level);
            let model = load(file.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let plan = model.plan().unwrap();
            regions += plan.regions;
            let all: Vec<usize> = (0..outputs.len()).collect();
            for (input, expected) in inputs.iter().zip(&expected) {
                for threads in &threads {
                    let found = answers(model.as_ref(), input, &all, threads);
                    for (found, (name, _)) in found.iter().zip(&outputs) {
                        let what = format!("seed {seed}, {level:?}, {name}\n{plan}");
                        assert_near(found, &expected[name], &what, || {
                            graph.sensitivity(input.clone(), name, &expected[name])
                        });
                    }
                }
                // One output alone is the same, to the last bit.
                let last = answers(model.as_ref(), input, &[outputs.len() - 1], &threads[0]);
                let found = answers(model.as_ref(), input, &all, &threads[1]);
                assert_eq!(last[0], found[outputs.len() - 1], "seed {seed}, {level:?}");
            }
            // An answer does not depend on the others of its batch.
            let image = inputs[1].values::<f32>().unwrap();
            let one = image[image.len() / 3..][..image.len() / 3].to_vec();
            let one = Tensor::from_vec([1, size[0], size[1], size[2]], one).unwrap();
            let alone = answers(model.as_ref(), &one, &all, &threads[0]);
            let together = answers(model.as_ref(), &inputs[1], &all, &threads[0]);
            if plan.lines.iter().all(|line| matches!(line.worker, Worker::Region(_))) {
                for (alone, together) in alone.iter().zip(&together) {
                    let part = alone.len();
                    let all = together.values::<f32>().unwrap();
                    assert_eq!(
                        alone.values::<f32>().unwrap(),
                        &all[part..2 * part],
                        "seed {seed}, {level:?}"
                    );
                }
            }
        }
    }
    limit(Level::Avx512);
    assert!(regions >= count as usize, "{regions} regions in {count} graphs");
    check_16_bit_floats();
}

/// In 16-bit floats, answers are near to those in 32-bit floats, and the same bits alone, in a batch, with any number
/// of threads and with any outputs wanted.
fn check_16_bit_floats() {
    if !Precision::BFloat16.is_available() {
        return;
    }
    let threads = [Threads::new(1), Threads::new(3)];
    let (mut accepted, mut narrow) = (0, 0);
    for seed in 0..if cfg!(debug_assertions) { 80 } else { 400 } {
        let mut random = Random(0x2545_f491_4f6c_dd1d ^ ((seed + 1) * 0x1_0000_0001));
        let graph = Graph::random(&mut random);
        // None of the random nodes had inputs that fit.
        if graph.nodes.is_empty() {
            continue;
        }
        let outputs = graph.outputs(&mut random);
        let size = graph.values[0].1;
        let input = random.numbers(3 * size.iter().product::<usize>());
        let input = Tensor::from_vec([3, size[0], size[1], size[2]], input).unwrap();
        let model = match load_narrow(graph.file(&outputs)) {
            Ok(model) => model,
            Err(error) => {
                assert_eq!(error.code(), "precision-inaccurate", "seed {seed}: {error}");
                continue;
            }
        };
        let plan = model.plan().unwrap();
        (accepted, narrow) = (accepted + 1, narrow + plan.narrow);
        let all: Vec<usize> = (0..outputs.len()).collect();
        let found = answers(model.as_ref(), &input, &all, &threads[0]);
        assert_eq!(answers(model.as_ref(), &input, &all, &threads[1]), found, "seed {seed}\n{plan}");
        let last = answers(model.as_ref(), &input, &[outputs.len() - 1], &threads[0]);
        assert_eq!(last[0], found[outputs.len() - 1], "seed {seed}\n{plan}");
        let expected = graph.by_operators(input.clone());
        for (found, (name, _)) in found.iter().zip(&outputs) {
            let far = difference(found, &expected[name]).unwrap();
            assert!(far < 0.2, "seed {seed}, {name}: {far}\n{plan}");
        }
        if plan.lines.iter().all(|line| matches!(line.worker, Worker::Region(_))) {
            let image = input.values::<f32>().unwrap();
            let one = image[image.len() / 3..][..image.len() / 3].to_vec();
            let one = Tensor::from_vec([1, size[0], size[1], size[2]], one).unwrap();
            for (alone, together) in answers(model.as_ref(), &one, &all, &threads[0]).iter().zip(&found) {
                let part = alone.len();
                let all = together.values::<f32>().unwrap();
                assert_eq!(alone.values::<f32>().unwrap(), &all[part..2 * part], "seed {seed}\n{plan}");
            }
        }
    }
    assert!(accepted > 40 && narrow > 15, "{accepted} accepted, {narrow} convolutions");
}

#[test]
fn images_that_do_not_fit_are_errors_and_memory_is_limited() {
    let nodes = [
        node("Conv", &["x", "w"], &["a"], &[]),
        node("Conv", &["z", "w"], &["b"], &[]),
        node("Concat", &["a", "b"], &["y"], &[Attribute::Integer("axis", 1)]),
    ];
    let file = model(
        &nodes,
        &[value("x", FLOAT, &[-1, 2, 4, 4]), value("z", FLOAT, &[1, 2, 4, 4])],
        &[value("y", FLOAT, &[-1, 4, 4, 4]), value("b", FLOAT, &[-1, 2, 4, 4])],
        &[floats("w", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0])],
    );
    let model = load(file).unwrap();
    assert_eq!(model.plan().unwrap().regions, 1, "{}", model.plan().unwrap());
    assert_eq!(model.needed_inputs(&[1]), [false, true]);
    let (threads, cancellation) = (Threads::new(1), Cancellation::default());
    let run = |inputs: Vec<Option<Value>>, wanted: &[usize], bytes: usize| {
        let memory = Memory::new(bytes);
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let found = model.run(inputs, wanted, run).map_err(|error| error.code().to_owned());
        assert_eq!(memory.used(), 0, "all memory is given back");
        found
    };
    let images = |count: usize| {
        let values = (0..count * 32).map(|value| value as f32).collect();
        Some(Value::Tensor(Tensor::from_vec([count, 2, 4, 4], values).unwrap()))
    };
    assert!(run(vec![images(1), images(1)], &[0, 1], 1 << 20).is_ok());
    assert_eq!(run(vec![images(2), images(1)], &[0], 1 << 20), Err("engine-inputs".to_owned()));
    assert_eq!(run(vec![images(1), images(1)], &[0], 600), Err("engine-budget".to_owned()));
    let found = run(vec![None, images(1)], &[1], 1 << 20).unwrap();
    let found = found[0].tensor().unwrap().values::<f32>().unwrap().to_vec();
    assert_eq!(found[..2], [32.0, 35.0]);
    assert_eq!(run(vec![images(0), images(1)], &[0], 1 << 20), Err("engine-inputs".to_owned()));
}
