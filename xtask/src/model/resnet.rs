//! ResNet v1 (He et al., arXiv:1512.03385, table 1) as an inference graph.
//!
//! Names and layout are those of the Keras model behind the reference
//! deployment as `tf2onnx` exports it: input `input_1` in NHWC with one
//! transposition inside, batch normalisation folded into the convolutions,
//! ReLUs counted `activation`, `activation_1` and so on, the softmax
//! `activation_49` in ResNet-50.

use super::{
    graph::{Attribute, Graph},
    weights::{Fill, tensor_seed},
};

/// Half of a normal variable's variance passes ReLU as its square's mean, but
/// a third as its variance, and that is all that filters of sum 0 see.
const GAIN: f32 = 1.2;
/// The last convolution of a block starts small, so that the residual stream
/// grows slowly, not twofold a block.
const RESIDUAL_GAIN: f32 = 0.35 * GAIN;
/// Makes classes differ: neither all alike nor one certain.
const HEAD_GAIN: f32 = 3.0;

/// What of the architecture can vary.
pub(super) struct Architecture {
    /// Side of the input in pixels.
    image: usize,
    /// Channels of the first stage inside its blocks; each later stage doubles them.
    width: usize,
    /// Bottleneck blocks of each stage.
    blocks: &'static [usize],
    classes: usize,
}

impl Architecture {
    /// 25.6 million parameters.
    pub(super) const RESNET_50: Self = Self { image: 224, width: 64, blocks: &[3, 4, 6, 3], classes: 1000 };
    /// The same parts, small enough for a unit test.
    #[cfg(test)]
    pub(super) const REDUCED: Self = Self { image: 32, width: 4, blocks: &[2, 1], classes: 10 };
}

/// The outputs of a bottleneck block are this many times as wide as its inside.
const EXPANSION: usize = 4;

/// The graph with weights that follow from `seed`.
pub(super) fn graph(architecture: &Architecture, seed: u64) -> Graph {
    let mut builder = Builder { graph: Graph::new("resnet"), seed, activations: 0 };
    let Architecture { image, width, blocks, classes } = *architecture;

    builder.graph.input("input_1", &[image, image, 3]);
    let x = builder.graph.node(
        "Transpose",
        &["input_1"],
        "input_nchw",
        vec![("perm", Attribute::Ints(vec![0, 3, 1, 2]))],
    );
    let mut x = builder.stem(&x, width);
    let mut channels = width;
    for (stage, &count) in blocks.iter().enumerate() {
        let inner = width << stage;
        for block in 0..count {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let name = format!("res{}{}", stage + 2, block_letter(block));
            x = builder.bottleneck(&name, &x, channels, inner, stride);
            channels = inner * EXPANSION;
        }
    }

    let x = builder.graph.node("GlobalAveragePool", &[&x], "avg_pool", vec![]);
    let x = builder.graph.node("Flatten", &[&x], "flatten", vec![("axis", Attribute::Int(1))]);
    let fill = Fill::filters(channels, HEAD_GAIN, builder.next_seed());
    let weight = builder.graph.weight("fc1000/kernel".to_owned(), &[classes, channels], fill);
    let bias = builder.graph.weight("fc1000/bias".to_owned(), &[classes], Fill::Zeros);
    let attributes = vec![("transB", Attribute::Int(1))];
    let x = builder.graph.node("Gemm", &[&x, &weight, &bias], "fc1000", attributes);
    let output = builder.next_activation();
    let output = builder.graph.node("Softmax", &[&x], &output, vec![("axis", Attribute::Int(-1))]);
    builder.graph.output(&output, &[classes]);
    builder.graph
}

fn block_letter(index: usize) -> char {
    (b'a'..=b'z').map(char::from).nth(index).unwrap_or('z')
}

struct Builder {
    graph: Graph,
    seed: u64,
    activations: usize,
}

/// A convolution's shape; padding keeps the size at stride 1.
struct Convolution {
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    gain: f32,
}

impl Convolution {
    fn weight_shape(&self) -> [usize; 4] {
        [self.outputs, self.inputs, self.kernel, self.kernel]
    }

    fn fan_in(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }
}

impl Builder {
    fn next_seed(&self) -> u64 {
        tensor_seed(self.seed, self.graph.weight_count())
    }

    /// Keras counts its activation layers: `activation`, `activation_1`, ...
    fn next_activation(&mut self) -> String {
        let number = self.activations;
        self.activations += 1;
        if number == 0 { "activation".to_owned() } else { format!("activation_{number}") }
    }

    fn relu(&mut self, x: &str) -> String {
        let name = self.next_activation();
        self.graph.node("Relu", &[x], &name, vec![])
    }

    fn convolution(&mut self, name: &str, x: &str, shape: &Convolution) -> String {
        let kernel = Fill::filters(shape.fan_in(), shape.gain, self.next_seed());
        let kernel = self.graph.weight(format!("{name}/kernel"), &shape.weight_shape(), kernel);
        let bias = self.graph.weight(format!("{name}/bias"), &[shape.outputs], Fill::Zeros);
        let padding = (shape.kernel / 2) as i64;
        let attributes = vec![
            ("dilations", Attribute::Ints(vec![1, 1])),
            ("group", Attribute::Int(1)),
            ("kernel_shape", Attribute::Ints(vec![shape.kernel as i64; 2])),
            ("pads", Attribute::Ints(vec![padding; 4])),
            ("strides", Attribute::Ints(vec![shape.stride as i64; 2])),
        ];
        self.graph.node("Conv", &[x, &kernel, &bias], name, attributes)
    }

    /// 7x7 convolution and pooling, together a quarter of the size.
    fn stem(&mut self, x: &str, width: usize) -> String {
        let shape = Convolution { inputs: 3, outputs: width, kernel: 7, stride: 2, gain: 2.0 };
        let x = self.convolution("conv1", x, &shape);
        let x = self.relu(&x);
        let attributes = vec![
            ("kernel_shape", Attribute::Ints(vec![3, 3])),
            ("pads", Attribute::Ints(vec![1; 4])),
            ("strides", Attribute::Ints(vec![2, 2])),
        ];
        self.graph.node("MaxPool", &[&x], "max_pooling2d", attributes)
    }

    /// 1x1, 3x3, 1x1 with a shortcut; version 1 strides in the first of them.
    fn bottleneck(&mut self, name: &str, x: &str, inputs: usize, inner: usize, stride: usize) -> String {
        let outputs = inner * EXPANSION;
        let reduce = Convolution { inputs, outputs: inner, kernel: 1, stride, gain: GAIN };
        let spatial = Convolution { inputs: inner, outputs: inner, kernel: 3, stride: 1, gain: GAIN };
        let expand = Convolution { inputs: inner, outputs, kernel: 1, stride: 1, gain: RESIDUAL_GAIN };

        let branch = self.convolution(&format!("{name}_branch2a"), x, &reduce);
        let branch = self.relu(&branch);
        let branch = self.convolution(&format!("{name}_branch2b"), &branch, &spatial);
        let branch = self.relu(&branch);
        let branch = self.convolution(&format!("{name}_branch2c"), &branch, &expand);
        let shortcut = if inputs == outputs && stride == 1 {
            x.to_owned()
        } else {
            let projection = Convolution { inputs, outputs, kernel: 1, stride, gain: GAIN };
            self.convolution(&format!("{name}_branch1"), x, &projection)
        };
        let sum = self.graph.node("Add", &[&branch, &shortcut], &format!("{name}_add"), vec![]);
        self.relu(&sum)
    }
}

#[cfg(test)]
mod tests;
