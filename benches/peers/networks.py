"""Networks with seeded weights, as ONNX files with an input each. Nothing is downloaded.

    python networks.py DIRECTORY [PART OF A NAME]

A network is NAME.onnx with NAME.inputs.npz. Files that are there stay.
"""

import os
import sys

import numpy
from onnx import TensorProto, helper, numpy_helper, save


class Builder:
    """A graph in the making. `x` is its input."""

    def __init__(self):
        self.nodes, self.constants = [], []
        self.random = numpy.random.default_rng(0)

    def constant(self, values):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numpy.asarray(values), name))
        return name

    def weights(self, *shape, gain=2.0):
        scale = (gain / max(1, numpy.prod(shape[1:]))) ** 0.5
        return self.constant((self.random.standard_normal(shape) * scale).astype(numpy.float32))

    def add(self, operator, inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, inputs, outputs, kernel, stride=1, group=1, pads=None, bias=True):
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = [rows // 2, columns // 2] * 2 if pads is None else pads
        operands = [x, self.weights(outputs, inputs // group, rows, columns)]
        if bias:
            operands.append(self.constant((self.random.standard_normal(outputs) * 0.1).astype(numpy.float32)))
        return self.add("Conv", operands, kernel_shape=[rows, columns], strides=[stride] * 2, pads=pads, group=group)

    def norm(self, x, channels):
        low_and_high = [(0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.5, 1.5)]
        parameters = [
            self.constant(self.random.uniform(low, high, channels).astype(numpy.float32))
            for low, high in low_and_high
        ]
        return self.add("BatchNormalization", [x, *parameters])

    def relu(self, x):
        return self.add("Relu", [x])

    def relu6(self, x):
        return self.add("Clip", [x, self.constant(numpy.float32(0)), self.constant(numpy.float32(6))])

    def silu(self, x):
        return self.add("Mul", [x, self.add("Sigmoid", [x])])

    def hard_swish(self, x):
        return self.add("HardSwish", [x])

    def max_pool(self, x, kernel, stride, pad):
        return self.add("MaxPool", [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def mean(self, x):
        return self.add("GlobalAveragePool", [x])

    def concat(self, *values):
        return self.add("Concat", list(values), axis=1)

    def squeeze(self, x, channels, reduced, activation, gate, **attributes):
        y = activation(self.conv(self.mean(x), channels, reduced, 1))
        return self.add("Mul", [x, self.add(gate, [self.conv(y, reduced, channels, 1)], **attributes)])

    def classify(self, x, channels, classes=1000):
        flat = self.add("Flatten", [x])
        return self.add("Gemm", [flat, self.weights(classes, channels, gain=1.0)], transB=1)

    def linear(self, x, inputs, outputs):
        bias = (self.random.standard_normal(outputs) * 0.1).astype(numpy.float32)
        weights = (self.random.standard_normal((inputs, outputs)) / inputs**0.5).astype(numpy.float32)
        return self.add("Add", [self.add("MatMul", [x, self.constant(weights)]), self.constant(bias)])

    def layer_norm(self, x, size):
        scale, bias = self.random.uniform(0.5, 1.5, size), self.random.uniform(-0.3, 0.3, size)
        operands = [self.constant(values.astype(numpy.float32)) for values in (scale, bias)]
        return self.add("LayerNormalization", [x, *operands], axis=-1, epsilon=1e-5)

    def number(self, value):
        return self.constant(numpy.float32(value))

    def gelu(self, x):
        """As PyTorch writes it."""
        y = self.add("Erf", [self.add("Div", [x, self.number(2**0.5)])])
        return self.add("Mul", [self.add("Mul", [x, self.add("Add", [y, self.number(1)])]), self.number(0.5)])

    def gelu_by_tanh(self, x):
        """GPT-2's."""
        y = self.add("Mul", [self.add("Pow", [x, self.number(3)]), self.number(0.044715)])
        y = self.add("Tanh", [self.add("Mul", [self.add("Add", [x, y]), self.number((2 / numpy.pi) ** 0.5)])])
        return self.add("Mul", [self.add("Mul", [x, self.number(0.5)]), self.add("Add", [y, self.number(1)])])

    def attention(self, x, width, heads, mask=None):
        size = width // heads
        split = self.constant(numpy.array([0, 0, heads, size]))

        def part(axes):
            return self.add("Transpose", [self.add("Reshape", [self.linear(x, width, width), split])], perm=axes)

        queries, keys, values = part([0, 2, 1, 3]), part([0, 2, 3, 1]), part([0, 2, 1, 3])
        scores = self.add("Div", [self.add("MatMul", [queries, keys]), self.number(size**0.5)])
        if mask:
            scores = self.add("Add", [scores, mask])
        y = self.add("MatMul", [self.add("Softmax", [scores], axis=-1), values])
        y = self.add("Transpose", [y], perm=[0, 2, 1, 3])
        y = self.add("Reshape", [y, self.constant(numpy.array([0, 0, width]))])
        return self.linear(y, width, width)

    def write(self, path, y, size=224, inputs=None):
        """`size` of an image, or the shapes of inputs of integers by name."""
        self.nodes.append(helper.make_node("Identity", [y], ["y"]))
        declared = [("x", TensorProto.FLOAT, ["batch", 3, size, size])]
        if inputs:
            declared = [(name, TensorProto.INT64, ["batch", "length"]) for name in inputs]
        declared = [helper.make_tensor_value_info(*value) for value in declared]
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "network", declared, [y], self.constants)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def resnet(path, layers, bottleneck):
    b = Builder()
    x = b.max_pool(b.relu(b.norm(b.conv("x", 3, 64, 7, 2, bias=False), 64)), 3, 2, 1)
    channels = 64
    for stage, count in enumerate(layers):
        width = 64 * 2**stage
        for index in range(count):
            stride = 2 if index == 0 and stage > 0 else 1
            wide = width * 4 if bottleneck else width
            if bottleneck:
                y = b.relu(b.norm(b.conv(x, channels, width, 1, bias=False), width))
                y = b.relu(b.norm(b.conv(y, width, width, 3, stride, bias=False), width))
                y = b.norm(b.conv(y, width, wide, 1, bias=False), wide)
            else:
                y = b.relu(b.norm(b.conv(x, channels, width, 3, stride, bias=False), width))
                y = b.norm(b.conv(y, width, width, 3, bias=False), width)
            if stride != 1 or channels != wide:
                x = b.norm(b.conv(x, channels, wide, 1, stride, pads=[0] * 4, bias=False), wide)
            x, channels = b.relu(b.add("Add", [y, x])), wide
    b.write(path, b.classify(b.mean(x), channels), 224)


def vgg11(path):
    b, x, channels = Builder(), "x", 3
    for outputs, count in [(64, 1), (128, 1), (256, 2), (512, 2), (512, 2)]:
        for _ in range(count):
            x, channels = b.relu(b.conv(x, channels, outputs, 3)), outputs
        x = b.max_pool(x, 2, 2, 0)
    x = b.relu(b.classify(x, 512 * 49, 4096))
    b.write(path, b.classify(b.relu(b.classify(x, 4096, 4096)), 4096), 224)


def mobilenet_v2(path):
    b = Builder()
    x, channels = b.relu6(b.conv("x", 3, 32, 3, 2)), 32
    blocks = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for factor, outputs, count, first in blocks:
        for index in range(count):
            stride, wide = (first if index == 0 else 1), channels * factor
            y = x if factor == 1 else b.relu6(b.conv(x, channels, wide, 1))
            y = b.conv(b.relu6(b.conv(y, wide, wide, 3, stride, wide)), wide, outputs, 1)
            x = b.add("Add", [y, x]) if stride == 1 and channels == outputs else y
            channels = outputs
    b.write(path, b.classify(b.mean(b.relu6(b.conv(x, channels, 1280, 1))), 1280), 224)


def mobilenet_v3(path):
    b = Builder()
    x, channels = b.hard_swish(b.conv("x", 3, 16, 3, 2)), 16
    blocks = [(3, 16, 16, 1, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2)]
    blocks += [(5, 120, 40, 1, 0, 1)] * 2 + [(3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1)]
    blocks += [(3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1)]
    for kernel, wide, outputs, squeezes, swishes, stride in blocks:
        activation = b.hard_swish if swishes else b.relu
        y = activation(b.conv(x, channels, wide, 1)) if wide != channels else x
        y = activation(b.conv(y, wide, wide, kernel, stride, wide))
        if squeezes:
            y = b.squeeze(y, wide, wide // 4, b.relu, "HardSigmoid", alpha=1 / 6, beta=0.5)
        y = b.conv(y, wide, outputs, 1)
        x = b.add("Add", [x, y]) if stride == 1 and channels == outputs else y
        channels = outputs
    x = b.hard_swish(b.conv(b.mean(b.hard_swish(b.conv(x, channels, 960, 1))), 960, 1280, 1))
    b.write(path, b.classify(x, 1280), 224)


def efficientnet_b0(path):
    b = Builder()
    x, channels = b.silu(b.norm(b.conv("x", 3, 32, 3, 2, pads=[0, 0, 1, 1], bias=False), 32)), 32
    blocks = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5)]
    for factor, outputs, count, first, kernel in blocks + [(6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]:
        for index in range(count):
            stride, wide = (first if index == 0 else 1), channels * factor
            y = x if factor == 1 else b.silu(b.norm(b.conv(x, channels, wide, 1, bias=False), wide))
            y = b.silu(b.norm(b.conv(y, wide, wide, kernel, stride, wide, bias=False), wide))
            y = b.squeeze(y, wide, max(1, channels // 4), b.silu, "Sigmoid")
            y = b.norm(b.conv(y, wide, outputs, 1, bias=False), outputs)
            x = b.add("Add", [y, x]) if stride == 1 and channels == outputs else y
            channels = outputs
    x = b.silu(b.norm(b.conv(x, channels, 1280, 1, bias=False), 1280))
    b.write(path, b.classify(b.mean(x), 1280), 224)


def densenet121(path):
    b = Builder()
    x = b.max_pool(b.relu(b.norm(b.conv("x", 3, 64, 7, 2, bias=False), 64)), 3, 2, 1)
    channels = 64
    for stage, count in enumerate((6, 12, 24, 16)):
        for _ in range(count):
            y = b.conv(b.relu(b.norm(x, channels)), channels, 128, 1, bias=False)
            y = b.conv(b.relu(b.norm(y, 128)), 128, 32, 3, bias=False)
            x, channels = b.concat(x, y), channels + 32
        if stage < 3:
            x = b.conv(b.relu(b.norm(x, channels)), channels, channels // 2, 1, bias=False)
            x, channels = b.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2]), channels // 2
    b.write(path, b.classify(b.mean(b.relu(b.norm(x, channels))), channels), 224)


def shufflenet_v2(path):
    b = Builder()
    x, channels, size = b.max_pool(b.relu(b.conv("x", 3, 24, 3, 2)), 3, 2, 1), 24, 56

    def branch(x, inputs, half, stride):
        y = b.conv(b.relu(b.conv(x, inputs, half, 1)), half, half, 3, stride, half)
        return b.relu(b.conv(y, half, half, 1))

    for outputs, count in [(116, 4), (232, 8), (464, 4)]:
        half = outputs // 2
        for index in range(count):
            if index == 0:
                left = b.relu(b.conv(b.conv(x, channels, channels, 3, 2, channels), channels, half, 1))
                right, size = branch(x, channels, half, 2), size // 2
            else:
                left, right = b.add("Split", [x, b.constant(numpy.array([half, half]))], 2, axis=1)
                right = branch(right, half, half, 1)
            x = b.add("Reshape", [b.concat(left, right), b.constant(numpy.array([0, 2, half, size, size]))])
            x = b.add("Transpose", [x], perm=[0, 2, 1, 3, 4])
            x = b.add("Reshape", [x, b.constant(numpy.array([0, outputs, size, size]))])
            channels = outputs
    b.write(path, b.classify(b.mean(b.relu(b.conv(x, channels, 1024, 1))), 1024), 224)


def unet(path):
    b, x, channels, skipped = Builder(), "x", 3, []

    def block(x, inputs, outputs):
        x = b.relu(b.norm(b.conv(x, inputs, outputs, 3, bias=False), outputs))
        return b.relu(b.norm(b.conv(x, outputs, outputs, 3, bias=False), outputs))

    for outputs in (32, 64, 128, 256):
        x, channels = block(x, channels, outputs), outputs
        skipped.append((x, outputs))
        x = b.max_pool(x, 2, 2, 0)
    x, channels = block(x, 256, 512), 512
    for skip, outputs in reversed(skipped):
        operands = [x, b.weights(channels, outputs, 2, 2), b.constant(numpy.zeros(outputs, numpy.float32))]
        x = b.add("ConvTranspose", operands, kernel_shape=[2, 2], strides=[2, 2])
        x, channels = block(b.concat(skip, x), 2 * outputs, outputs), outputs
    b.write(path, b.add("Sigmoid", [b.conv(x, channels, 2, 1)]), 256)



def inception_v3(path):
    b = Builder()

    def conv(x, inputs, outputs, kernel, stride=1, pads=None):
        return b.relu(b.norm(b.conv(x, inputs, outputs, kernel, stride, pads=pads, bias=False), outputs))

    def average(x):
        attributes = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4, "count_include_pad": 1}
        return b.add("AveragePool", [x], **attributes)

    none = [0] * 4
    x = conv(conv(conv("x", 3, 32, 3, 2, none), 32, 32, 3, 1, none), 32, 64, 3)
    x = b.max_pool(x, 3, 2, 0)
    x = b.max_pool(conv(conv(x, 64, 80, 1), 80, 192, 3, 1, none), 3, 2, 0)
    channels = 192
    for pooled in (32, 64, 64):
        y = [conv(x, channels, 64, 1), conv(conv(x, channels, 48, 1), 48, 64, 5)]
        y.append(conv(conv(conv(x, channels, 64, 1), 64, 96, 3), 96, 96, 3))
        x, channels = b.concat(*y, conv(average(x), channels, pooled, 1)), 224 + pooled
    y = conv(conv(conv(x, channels, 64, 1), 64, 96, 3), 96, 96, 3, 2, none)
    x, channels = b.concat(conv(x, channels, 384, 3, 2, none), y, b.max_pool(x, 3, 2, 0)), 768
    wide, high = (1, 7), (7, 1)
    for width in (128, 160, 160, 192):
        y = conv(conv(conv(x, 768, width, 1), width, width, wide), width, 192, high)
        z = conv(conv(conv(x, 768, width, 1), width, width, high), width, width, wide)
        z = conv(conv(z, width, width, high), width, 192, wide)
        x = b.concat(conv(x, 768, 192, 1), y, z, conv(average(x), 768, 192, 1))
    y = conv(conv(x, 768, 192, 1), 192, 320, 3, 2, none)
    z = conv(conv(conv(x, 768, 192, 1), 192, 192, wide), 192, 192, high)
    x, channels = b.concat(y, conv(z, 192, 192, 3, 2, none), b.max_pool(x, 3, 2, 0)), 1280
    for _ in range(2):
        y = conv(x, channels, 384, 1)
        z = conv(conv(x, channels, 448, 1), 448, 384, 3)
        parts = [conv(y, 384, 384, (1, 3)), conv(y, 384, 384, (3, 1))]
        parts += [conv(z, 384, 384, (1, 3)), conv(z, 384, 384, (3, 1))]
        x = b.concat(conv(x, channels, 320, 1), *parts, conv(average(x), channels, 192, 1))
        channels = 2048
    b.write(path, b.classify(b.mean(x), 2048), 299)


def convnext_tiny(path):
    b, widths = Builder(), (96, 192, 384, 768)

    def norm_of_channels(x, width):
        y = b.layer_norm(b.add("Transpose", [x], perm=[0, 2, 3, 1]), width)
        return b.add("Transpose", [y], perm=[0, 3, 1, 2])

    x = norm_of_channels(b.conv("x", 3, 96, 4, 4, pads=[0] * 4), 96)
    for stage, (width, count) in enumerate(zip(widths, (3, 3, 9, 3))):
        if stage:
            x = b.conv(norm_of_channels(x, widths[stage - 1]), widths[stage - 1], width, 2, 2, pads=[0] * 4)
        for _ in range(count):
            y = b.add("Transpose", [b.conv(x, width, width, 7, 1, width)], perm=[0, 2, 3, 1])
            y = b.linear(b.gelu(b.linear(b.layer_norm(y, width), width, 4 * width)), 4 * width, width)
            y = b.add("Mul", [y, b.constant(b.random.uniform(0.1, 0.5, width).astype(numpy.float32))])
            x = b.add("Add", [x, b.add("Transpose", [y], perm=[0, 3, 1, 2])])
    b.write(path, b.classify(b.layer_norm(b.add("Flatten", [b.mean(x)]), 768), 768))


def yolo(path):
    """A detector in the manner of YOLOv5s: bottlenecks in two strands, three sizes of objects."""
    b = Builder()

    def conv(x, inputs, outputs, kernel=1, stride=1):
        return b.silu(b.norm(b.conv(x, inputs, outputs, kernel, stride, bias=False), outputs))

    def strands(x, inputs, outputs, count, shortcut=True):
        half = outputs // 2
        y, z = conv(x, inputs, half), conv(x, inputs, half)
        for _ in range(count):
            inner = conv(conv(y, half, half), half, half, 3)
            y = b.add("Add", [y, inner]) if shortcut else inner
        return conv(b.concat(y, z), outputs, outputs)

    def larger(x):
        return b.add("Resize", [x, "", b.constant(numpy.array([1, 1, 2, 2], numpy.float32))], mode="nearest",
                     coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    x = conv(b.conv("x", 3, 32, 6, 2, pads=[2] * 4), 32, 64, 3, 2)
    x = strands(x, 64, 64, 1)
    small = strands(conv(x, 64, 128, 3, 2), 128, 128, 2)
    middle = strands(conv(small, 128, 256, 3, 2), 256, 256, 3)
    x = conv(strands(conv(middle, 256, 512, 3, 2), 512, 512, 1), 512, 256)
    pooled = [x]
    for _ in range(3):
        pooled.append(b.max_pool(pooled[-1], 5, 1, 2))
    large = conv(conv(b.concat(*pooled), 1024, 512), 512, 256)
    y = conv(strands(b.concat(larger(large), middle), 512, 256, 1, False), 256, 128)
    first = strands(b.concat(larger(y), small), 256, 128, 1, False)
    second = strands(b.concat(conv(first, 128, 128, 3, 2), y), 256, 256, 1, False)
    third = strands(b.concat(conv(second, 256, 256, 3, 2), large), 512, 512, 1, False)
    found = []
    for x, channels in ((first, 128), (second, 256), (third, 512)):
        x = b.add("Reshape", [b.conv(x, channels, 255, 1), b.constant(numpy.array([0, 3, 85, -1]))])
        x = b.add("Sigmoid", [b.add("Transpose", [x], perm=[0, 1, 3, 2])])
        found.append(b.add("Reshape", [x, b.constant(numpy.array([0, -1, 85]))]))
    b.write(path, b.concat(*found), 320)


WIDTH, HEADS, LAYERS = 768, 12, 12


def embed(b, words, name="ids"):
    table = (b.random.standard_normal((words, WIDTH)) * 0.05).astype(numpy.float32)
    return b.add("Gather", [b.constant(table), name])


def positions(b, x, count):
    """Adds a vector to each word, by its place."""
    table = b.constant((b.random.standard_normal((1, count, WIDTH)) * 0.05).astype(numpy.float32))
    length = b.add("Slice", [b.add("Shape", [x])] + [b.constant(numpy.array([value])) for value in (1, 2)])
    zero, axis = b.constant(numpy.array([0])), b.constant(numpy.array([1]))
    return b.add("Add", [x, b.add("Slice", [table, zero, length, axis])])


def bert(path):
    b = Builder()
    x = b.layer_norm(positions(b, embed(b, 30522), 512), WIDTH)
    mask = b.add("Cast", [b.add("Unsqueeze", ["mask", b.constant(numpy.array([1, 2]))])], to=TensorProto.FLOAT)
    mask = b.add("Mul", [b.add("Sub", [b.number(1), mask]), b.number(numpy.finfo(numpy.float32).min)])
    for _ in range(LAYERS):
        x = b.layer_norm(b.add("Add", [b.attention(x, WIDTH, HEADS, mask), x]), WIDTH)
        y = b.linear(b.gelu(b.linear(x, WIDTH, 4 * WIDTH)), 4 * WIDTH, WIDTH)
        x = b.layer_norm(b.add("Add", [y, x]), WIDTH)
    b.write(path, x, inputs=["ids", "mask"])


def vit(path):
    b = Builder()
    x = b.conv("x", 3, WIDTH, 16, 16, pads=[0] * 4)
    x = b.add("Transpose", [b.add("Reshape", [x, b.constant(numpy.array([0, WIDTH, 196]))])], perm=[0, 2, 1])
    token = b.constant((b.random.standard_normal((1, 1, WIDTH)) * 0.05).astype(numpy.float32))
    batch = b.add("Slice", [b.add("Shape", [x])] + [b.constant(numpy.array([value])) for value in (0, 1)])
    shape = b.add("Concat", [batch, b.constant(numpy.array([1, WIDTH]))], axis=0)
    x = b.concat(b.add("Expand", [token, shape]), x)
    x = b.add("Add", [x, b.constant((b.random.standard_normal((1, 197, WIDTH)) * 0.05).astype(numpy.float32))])
    for _ in range(LAYERS):
        x = b.add("Add", [b.attention(b.layer_norm(x, WIDTH), WIDTH, HEADS), x])
        y = b.gelu(b.linear(b.layer_norm(x, WIDTH), WIDTH, 4 * WIDTH))
        x = b.add("Add", [b.linear(y, 4 * WIDTH, WIDTH), x])
    x = b.add("Gather", [b.layer_norm(x, WIDTH), b.constant(numpy.array(0))], axis=1)
    b.write(path, b.classify(x, WIDTH))


def gpt2(path):
    b = Builder()
    x = positions(b, embed(b, 50257), 1024)
    length = b.add("Slice", [b.add("Shape", ["ids"])] + [b.constant(numpy.array([value])) for value in (1, 2)])
    ends = b.add("Concat", [length, length], axis=0)
    causal = b.constant(numpy.triu(numpy.full((1024, 1024), numpy.finfo(numpy.float32).min, numpy.float32), 1))
    causal = b.add("Slice", [causal, b.constant(numpy.array([0, 0])), ends, b.constant(numpy.array([0, 1]))])
    for _ in range(LAYERS):
        x = b.add("Add", [b.attention(b.layer_norm(x, WIDTH), WIDTH, HEADS, causal), x])
        y = b.gelu_by_tanh(b.linear(b.layer_norm(x, WIDTH), WIDTH, 4 * WIDTH))
        x = b.add("Add", [b.linear(y, 4 * WIDTH, WIDTH), x])
    weights = (b.random.standard_normal((WIDTH, 50257)) / WIDTH**0.5).astype(numpy.float32)
    b.write(path, b.add("MatMul", [b.layer_norm(x, WIDTH), b.constant(weights)]), inputs=["ids"])


def quantised(write):
    """The network in 8 bits, with a scale for each channel of weights, as ONNX Runtime's tools write it."""

    def convert(path):
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Images(CalibrationDataReader):
            images = iter([{"x": image(seed)} for seed in range(4)])

            def get_next(self):
                return next(self.images, None)

        written, floats = path + ".written", path + ".floats"
        write(written)
        # The step before: normalizations go into the convolutions.
        quant_pre_process(written, floats, skip_symbolic_shape=True)
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(floats, path, Images(), quant_format=QuantFormat.QDQ, per_channel=True, **types)
        os.remove(written)
        os.remove(floats)

    return convert


def trees(path, count=1000, depth=5, features=28):
    """A gradient boosted regression. Each tree has `2**depth - 1` branches."""
    random = numpy.random.default_rng(0)
    branches, leaves = 2**depth - 1, 2**depth
    nodes = branches + leaves
    shape = (count, nodes)
    inner = numpy.arange(nodes) < branches
    features_of = numpy.where(inner, random.integers(0, features, shape), 0)
    thresholds = numpy.where(inner, random.standard_normal(shape), 0).astype(numpy.float32)
    below = numpy.where(inner, 2 * numpy.arange(nodes) + 1, 0)
    trees_of = numpy.repeat(numpy.arange(count), nodes)
    ends = numpy.tile(~inner, count)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=trees_of, nodes_nodeids=numpy.tile(numpy.arange(nodes), count),
        nodes_featureids=features_of.ravel(), nodes_values=thresholds.ravel(),
        nodes_modes=numpy.where(ends, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=numpy.tile(below, count),
        nodes_falsenodeids=numpy.tile(numpy.where(inner, below + 1, 0), count),
        nodes_missing_value_tracks_true=numpy.zeros(count * nodes, int),
        target_treeids=trees_of[ends], target_nodeids=numpy.tile(numpy.arange(nodes), count)[ends],
        target_ids=numpy.zeros(count * leaves, int),
        target_weights=(random.standard_normal(count * leaves) * 0.01).astype(numpy.float32),
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", features])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save(helper.make_model(helper.make_graph([node], "trees", [x], [y]), opset_imports=imports, ir_version=8), path)


def image(seed=1, size=224, batch=1):
    return numpy.random.default_rng(seed).standard_normal((batch, 3, size, size)).astype(numpy.float32)


def images(size=224):
    return lambda batch: {"x": image(1, size, batch)}


def words(count, length, *names):
    """Words of a text, and a mask that hides none."""
    random = numpy.random.default_rng(1)

    def inputs(batch):
        ids = {"ids": random.integers(0, count, (batch, length))}
        return ids | {name: numpy.ones((batch, length), numpy.int64) for name in names}

    return inputs


def rows(features):
    return lambda batch: {"x": numpy.random.default_rng(1).standard_normal((batch, features)).astype(numpy.float32)}


# For each name: a function that writes the network, one that makes inputs for a batch, and the batch.
NETWORKS = {
    "resnet18": (lambda path: resnet(path, (2, 2, 2, 2), False), images(), 1),
    "resnet50": (lambda path: resnet(path, (3, 4, 6, 3), True), images(), 1),
    "vgg11": (vgg11, images(), 1),
    "mobilenet_v2": (mobilenet_v2, images(), 1),
    "mobilenet_v3": (mobilenet_v3, images(), 1),
    "efficientnet_b0": (efficientnet_b0, images(), 1),
    "densenet121": (densenet121, images(), 1),
    "inception_v3": (inception_v3, images(299), 1),
    "shufflenet_v2": (shufflenet_v2, images(), 1),
    "convnext_tiny": (convnext_tiny, images(), 1),
    "unet": (unet, images(256), 1),
    "yolo": (yolo, images(320), 1),
    "bert": (bert, words(30522, 128, "mask"), 1),
    "vit": (vit, images(), 1),
    "gpt2": (gpt2, words(50257, 128), 1),
    "int8_resnet50": (quantised(lambda path: resnet(path, (3, 4, 6, 3), True)), images(), 1),
    "int8_mobilenet_v2": (quantised(mobilenet_v2), images(), 1),
    "trees_1": (trees, rows(28), 1),
    "trees_1000": (trees, rows(28), 1000),
}


def main():
    directory, part = sys.argv[1], "".join(sys.argv[2:3])
    os.makedirs(directory, exist_ok=True)
    for name, (write, inputs, batch) in NETWORKS.items():
        path = f"{directory}/{name}"
        if part not in name or os.path.exists(f"{path}.inputs.npz"):
            continue
        write(f"{path}.onnx")
        # Last, so that a network that was cut off is written again.
        numpy.savez(f"{path}.batch8.npz", **inputs(8 * batch))
        numpy.savez(f"{path}.inputs.npz", **inputs(batch))
        print(name, flush=True)


if __name__ == "__main__":
    main()
