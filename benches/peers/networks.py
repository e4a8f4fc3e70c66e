"""Networks for images with seeded weights, as ONNX files. Nothing is downloaded."""

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

    def write(self, path, y, size):
        self.nodes.append(helper.make_node("Identity", [y], ["y"]))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, size, size])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "network", [x], [y], self.constants)
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


NETWORKS = {
    "resnet18": lambda path: resnet(path, (2, 2, 2, 2), False),
    "resnet50": lambda path: resnet(path, (3, 4, 6, 3), True),
    "vgg11": vgg11,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "efficientnet_b0": efficientnet_b0,
    "densenet121": densenet121,
    "shufflenet_v2": shufflenet_v2,
    "unet": unet,
}
