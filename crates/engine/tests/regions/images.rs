//! Random graphs of images, of all that regions are made of.

use std::collections::HashMap;

use adytum_engine::{operators::Attribute as Setting, tensor::Tensor};

use super::fixture::{
    graphs::{Built, Random, by_operators, by_operators_with, encoded, list},
    onnx::{FLOAT, model, value},
};

/// A random graph of images.
#[derive(Default)]
pub struct Graph {
    pub nodes: Vec<Built>,
    constants: Vec<(String, Tensor)>,
    /// Values with their channels and sizes.
    pub values: Vec<(String, [usize; 3])>,
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
        self.nodes.push(Built { domain: "", operator, inputs, outputs: vec![output.clone()], settings });
        output
    }

    fn convolution(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = pick(random, &self.values);
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
        let weights = random.numbers(count, 1.0).into_iter().map(|weight| weight * scale).collect();
        let weights = self.constant(Tensor::from_vec(shape.to_vec(), weights).unwrap());
        let mut inputs = vec![input, weights];
        if random.below(2) == 0 {
            inputs.push(self.constant(Tensor::vector(random.numbers(outputs, 1.0))));
        }
        let output = self.add("Conv", inputs, settings);
        self.values.push((output, [outputs, size[0], size[1]]));
    }

    fn unary(&mut self, random: &mut Random) {
        let (input, size) = pick(random, &self.values);
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
                    let values =
                        random.numbers(channels, 1.0).into_iter().map(|value| value + shift).collect();
                    inputs.push(self.constant(Tensor::vector(values)));
                }
            }
            "InstanceNormalization" => {
                inputs.push(self.constant(Tensor::vector(random.numbers(channels, 1.0))));
                inputs.push(self.constant(Tensor::vector(random.numbers(channels, 1.0))));
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
                let values = random.numbers(shape[1], 1.0);
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
        let (input, [channels, height, width]) = pick(random, &self.values);
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
        let (left, size) = pick(random, &self.values);
        let others: Vec<(String, [usize; 3])> = self
            .values
            .iter()
            .filter(|(_, other)| *other == size || *other == [size[0], 1, 1])
            .cloned()
            .collect();
        let (right, _) = pick(random, &others);
        let operator = random.one(&["Add", "Mul", "Sub", "Add"]);
        let output = self.add(operator, vec![left, right], vec![]);
        self.values.push((output, size));
    }

    fn join(&mut self, random: &mut Random) {
        let (first, size) = pick(random, &self.values);
        let others: Vec<(String, [usize; 3])> =
            self.values.iter().filter(|(_, other)| other[1..] == size[1..]).cloned().collect();
        let (second, other) = pick(random, &others);
        if size[0] + other[0] > 90 {
            return;
        }
        let output = self.add("Concat", vec![first, second], vec![("axis", Setting::Integer(1))]);
        self.values.push((output, [size[0] + other[0], size[1], size[2]]));
    }

    fn part(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = pick(random, &self.values);
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
                self.constant(Tensor::from_vec(shape, random.numbers(channels * outputs * 6, 1.0)).unwrap());
            let bias = self.constant(Tensor::vector(random.numbers(outputs, 1.0)));
            let settings = vec![("strides", list(&[2, 3]))];
            let output = self.add("ConvTranspose", vec![input, weights, bias], settings);
            self.values.push((output, [outputs, height * 2, width * 3]));
            return;
        }
        match random.below(5) {
            0 => return self.resized(random),
            1 => return self.surrounded(random),
            2 => return self.spread(random),
            3 => return self.turned(random),
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

    /// Pixels with their channels side by side, which get a summand each, and images again.
    fn turned(&mut self, random: &mut Random) {
        let (input, size) = pick(random, &self.values);
        let [channels, height, width] = size;
        let bias = self.constant(Tensor::vector(random.numbers(channels, 1.0)));
        if random.below(2) == 0 {
            let pixels = self.add("Transpose", vec![input], vec![("perm", list(&[0, 2, 3, 1]))]);
            let pixels = self.add("Add", vec![pixels, bias], vec![]);
            let output = self.add("Transpose", vec![pixels], vec![("perm", list(&[0, 3, 1, 2]))]);
            self.values.push((output, size));
            return;
        }
        let mut shape = |shape: &[usize]| {
            let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
            self.constant(Tensor::vector(shape))
        };
        let (rows, image) = (shape(&[0, channels, height * width]), shape(&[0, channels, height, width]));
        let pixels = self.add("Reshape", vec![input, rows], vec![]);
        let pixels = self.add("Transpose", vec![pixels], vec![("perm", list(&[0, 2, 1]))]);
        let pixels = self.add("Add", vec![bias, pixels], vec![]);
        let turned = self.add("Transpose", vec![pixels], vec![("perm", list(&[0, 2, 1]))]);
        let output = self.add("Reshape", vec![turned, image], vec![]);
        self.values.push((output, size));
    }

    /// Another size, by factors or by sizes.
    fn resized(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = pick(random, &self.values);
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
        let (input, [channels, height, width]) = pick(random, &self.values);
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
        let (input, [channels, height, width]) = pick(random, &self.values);
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
        let weights = random.numbers(shape.iter().product(), 1.0);
        let weights = self.constant(Tensor::from_vec(shape, weights).unwrap());
        let settings =
            vec![("strides", list(&strides)), ("pads", list(&pads)), ("output_padding", list(&extra))];
        let output = self.add("ConvTranspose", vec![input, weights], settings);
        self.values.push((output, [outputs, size[0], size[1]]));
    }

    /// A normalization in groups, as exporters write it, and a run of channels.
    fn grouped(&mut self, random: &mut Random) {
        let (input, [channels, height, width]) = pick(random, &self.values);
        let groups = random.one(&[1, 2, 4]);
        if !channels.is_multiple_of(groups) {
            return;
        }
        let shape = self.constant(Tensor::vector(vec![0, groups as i64, -1]));
        let rows = self.add("Reshape", vec![input, shape], vec![]);
        let scale = self.constant(Tensor::vector(random.numbers(groups, 1.0)));
        let bias = self.constant(Tensor::vector(random.numbers(groups, 1.0)));
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
        let (input, [channels, height, width]) = pick(random, &self.values);
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

    pub fn random(random: &mut Random) -> Self {
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
    pub fn outputs(&self, random: &mut Random) -> Vec<(String, [usize; 3])> {
        let taken = |name: &str| self.nodes.iter().any(|node| node.inputs.iter().any(|input| input == name));
        let made = &self.values[1..];
        let mut outputs: Vec<_> = made.iter().filter(|(name, _)| !taken(name)).cloned().collect();
        let more = pick(random, made);
        if !outputs.contains(&more) {
            outputs.push(more);
        }
        outputs
    }

    pub fn file(&self, outputs: &[(String, [usize; 3])]) -> Vec<u8> {
        let nodes: Vec<Vec<u8>> = self.nodes.iter().map(Built::encoded).collect();
        let constants: Vec<Vec<u8>> =
            self.constants.iter().map(|(name, tensor)| encoded(name, tensor)).collect();
        let port = |(name, size): &(String, [usize; 3])| {
            value(name, FLOAT, &[-1, size[0] as i64, size[1] as i64, size[2] as i64])
        };
        let outputs: Vec<Vec<u8>> = outputs.iter().map(port).collect();
        model(&nodes, &[port(&self.values[0])], &outputs, &constants)
    }

    /// All values by our own operators, one after the other.
    pub fn by_operators(&self, input: Tensor) -> HashMap<String, Tensor> {
        by_operators(&self.nodes, &self.constants, &[("x", input)])
    }

    /// How far the value of this name moves if each number on the way to it is off by up to two units of its last place:
    /// normalizations of images whose pixels are nearly the same make much of that.
    pub fn sensitivity(&self, input: Tensor, name: &str, exact: &Tensor) -> f32 {
        let exact = exact.values::<f32>().unwrap();
        let mut largest = 0.0_f32;
        for seed in 1..6 {
            let mut random = Random(seed);
            let moved = by_operators_with(&self.nodes, &self.constants, &[("x", input.clone())], |value| {
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
}

fn pick(random: &mut Random, list: &[(String, [usize; 3])]) -> (String, [usize; 3]) {
    list[random.below(list.len())].clone()
}
