#!/usr/bin/env python3
"""Trains a small residual CNN on scikit-learn's digits and writes it as ONNX.

    python3 -m venv venv && venv/bin/pip install numpy scikit-learn onnx pillow
    venv/bin/python train.py

Writes, beside this file, model.onnx, labels.txt and sample images of the
held-out test split, and prints the accuracy that the written model reaches on
all of that split. Takes half a minute on one core. The seed is fixed: the same
versions of numpy and of its linear algebra library give the same file.

The network is written out in numpy, gradients included, so that retraining
needs no deep-learning framework. Activations are NHWC here, as in the served
input; the exported graph transposes once and works in NCHW, as ONNX does.
"""

import argparse
import pathlib

import numpy as np
import onnx
import onnx.reference
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 20240229
SAMPLES_PER_CLASS = 2
HERE = pathlib.Path(__file__).resolve().parent


# ---------------------------------------------------------------- the data


def pixels_as_bytes(images):
    """Digits 0..16 as the grey bytes 0..255 that a PNG carries."""
    return np.rint(images * (255.0 / 16.0)).astype(np.uint8)


def load_split(seed):
    """Training and test images [N,8,8,1] in 0..1 with their labels.

    One fifth of the digits, stratified by class, is never trained on.
    """
    digits = load_digits()
    pixels = pixels_as_bytes(digits.images)
    indices = np.arange(len(pixels))
    train, test = train_test_split(indices, test_size=0.2, stratify=digits.target, random_state=seed)
    as_input = (pixels.astype(np.float32) / np.float32(255.0))[..., None]
    return as_input, digits.target, pixels, train, test


def shifted(images, random):
    """Each image moved by -1, 0 or 1 pixels in both directions."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moved = np.empty_like(images)
    offsets = random.integers(0, 3, size=(len(images), 2))
    # Half of them stay in place: the test digits are centred.
    offsets[random.random(len(images)) < 0.5] = 1
    for index, (down, right) in enumerate(offsets):
        moved[index] = padded[index, down : down + 8, right : right + 8]
    return moved


# ---------------------------------------------------------------- layers


class Convolution:
    """A square convolution with bias, padded so that stride 1 keeps the size."""

    def __init__(self, random, inputs, outputs, kernel, stride, scale=1.0):
        self.kernel, self.stride, self.padding = kernel, stride, kernel // 2
        deviation = scale * np.sqrt(2.0 / (kernel * kernel * inputs))
        self.weight = random.normal(0, deviation, (kernel, kernel, inputs, outputs)).astype(np.float32)
        self.bias = np.zeros(outputs, np.float32)

    def taps(self, shape):
        """For each position in the kernel the slice of the padded input it sees."""
        height = (shape[1] + 2 * self.padding - self.kernel) // self.stride + 1
        width = (shape[2] + 2 * self.padding - self.kernel) // self.stride + 1
        for row in range(self.kernel):
            for column in range(self.kernel):
                yield (
                    row,
                    column,
                    (
                        slice(None),
                        slice(row, row + self.stride * height, self.stride),
                        slice(column, column + self.stride * width, self.stride),
                    ),
                )

    def forward(self, x):
        border = (self.padding, self.padding)
        self.shape, self.padded = x.shape, np.pad(x, ((0, 0), border, border, (0, 0)))
        out = self.bias
        for row, column, window in self.taps(x.shape):
            out = out + self.padded[window] @ self.weight[row, column]
        return out

    def backward(self, gradient):
        self.weight_gradient = np.empty_like(self.weight)
        self.bias_gradient = gradient.sum((0, 1, 2))
        flat = gradient.reshape(-1, gradient.shape[-1])
        below = np.zeros_like(self.padded)
        for row, column, window in self.taps(self.shape):
            seen = self.padded[window]
            self.weight_gradient[row, column] = seen.reshape(-1, seen.shape[-1]).T @ flat
            below[window] += gradient @ self.weight[row, column].T
        edge = self.padding
        return below[:, edge : edge + self.shape[1], edge : edge + self.shape[2]]

    def layers(self):
        return [self]


class Relu:
    def forward(self, x):
        self.positive = x > 0
        return x * self.positive

    def backward(self, gradient):
        return gradient * self.positive

    def layers(self):
        return []


class Residual:
    """relu(shortcut(x) + second(relu(first(x))))"""

    def __init__(self, random, inputs, outputs, stride):
        self.first = Convolution(random, inputs, outputs, 3, stride)
        self.second = Convolution(random, outputs, outputs, 3, 1, scale=0.3)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else Convolution(random, inputs, outputs, 1, stride)
        self.inner, self.outer = Relu(), Relu()

    def forward(self, x):
        branch = self.second.forward(self.inner.forward(self.first.forward(x)))
        return self.outer.forward(branch + (self.shortcut.forward(x) if self.shortcut else x))

    def backward(self, gradient):
        gradient = self.outer.backward(gradient)
        below = self.first.backward(self.inner.backward(self.second.backward(gradient)))
        return below + (self.shortcut.backward(gradient) if self.shortcut else gradient)

    def layers(self):
        return [self.first, self.second] + ([self.shortcut] if self.shortcut else [])


class Dense:
    """Flattens, then a matrix product with bias."""

    def __init__(self, random, inputs, outputs):
        self.weight = random.normal(0, np.sqrt(1.0 / inputs), (inputs, outputs)).astype(np.float32)
        self.bias = np.zeros(outputs, np.float32)

    def forward(self, x):
        self.shape, self.flat = x.shape, x.reshape(len(x), -1)
        return self.flat @ self.weight + self.bias

    def backward(self, gradient):
        self.weight_gradient = self.flat.T @ gradient
        self.bias_gradient = gradient.sum(0)
        return (gradient @ self.weight.T).reshape(self.shape)

    def layers(self):
        return [self]


class Network:
    def __init__(self, random):
        self.stem = Convolution(random, 1, 16, 3, 1)
        self.blocks = [Residual(random, 16, 16, 1), Residual(random, 16, 32, 2)]
        self.head = Dense(random, 32 * 4 * 4, 10)
        self.parts = [self.stem, Relu(), *self.blocks, self.head]

    def forward(self, x):
        for part in self.parts:
            x = part.forward(x)
        return x

    def backward(self, gradient):
        for part in reversed(self.parts):
            gradient = part.backward(gradient)

    def layers(self):
        return [layer for part in self.parts for layer in part.layers()]


# ---------------------------------------------------------------- training


def softmax(logits):
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def train(network, images, labels, random, epochs, batch=64, peak_rate=2e-3, decay=1e-2, smoothing=0.05):
    """AdamW with a cosine schedule on smoothed cross-entropy."""
    moments = {}
    steps, step = epochs * (len(images) // batch), 0
    for epoch in range(epochs):
        order, total = random.permutation(len(images)), 0.0
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            target = np.full((batch, 10), smoothing / 10, np.float32)
            target[np.arange(batch), labels[chosen]] += 1 - smoothing
            probabilities = softmax(network.forward(shifted(images[chosen], random)))
            total += -np.log(probabilities[np.arange(batch), labels[chosen]] + 1e-9).mean()
            network.backward((probabilities - target) / np.float32(batch))

            step += 1
            rate = peak_rate * min(1.0, step / 50) * 0.5 * (1 + np.cos(np.pi * step / steps))
            for layer in network.layers():
                for name in ("weight", "bias"):
                    value, gradient = getattr(layer, name), getattr(layer, name + "_gradient")
                    first, second = moments.get((layer, name), (0.0, 0.0))
                    first = 0.9 * first + 0.1 * gradient
                    second = 0.999 * second + 0.001 * gradient**2
                    moments[layer, name] = first, second
                    update = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
                    if name == "weight":
                        update = update + decay * value
                    value -= (rate * update).astype(np.float32)
        print(f"epoch {epoch + 1}/{epochs}: loss {total / (len(images) // batch):.4f}", flush=True)


# ---------------------------------------------------------------- export


def export(network):
    """The network as an ONNX graph: image [N,8,8,1] -> probabilities [N,10]."""
    helper, nodes, initializers = onnx.helper, [], []

    def constant(name, array):
        initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def node(operator, inputs, output, **attributes):
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def convolution(layer, source, output):
        weight = constant(output + ".weight", layer.weight.transpose(3, 2, 0, 1))
        bias = constant(output + ".bias", layer.bias)
        return node(
            "Conv",
            [source, weight, bias],
            output,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
            dilations=[1, 1],
            group=1,
        )

    x = node("Transpose", ["image"], "image_nchw", perm=[0, 3, 1, 2])
    x = node("Relu", [convolution(network.stem, x, "stem")], "stem_relu")
    for index, block in enumerate(network.blocks):
        name = f"block{index}"
        branch = node("Relu", [convolution(block.first, x, f"{name}_first")], f"{name}_inner")
        branch = convolution(block.second, branch, f"{name}_second")
        straight = convolution(block.shortcut, x, f"{name}_shortcut") if block.shortcut else x
        x = node("Relu", [node("Add", [branch, straight], f"{name}_sum")], f"{name}_relu")
    x = node("Flatten", [x], "features", axis=1)
    # The rows of the weight are in NHWC order here, in NCHW order there.
    weight = network.head.weight.reshape(4, 4, 32, 10).transpose(2, 0, 1, 3).reshape(512, 10)
    inputs = [x, constant("head.weight", weight), constant("head.bias", network.head.bias)]
    node("Softmax", [node("Gemm", inputs, "logits")], "probabilities", axis=-1)

    information = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "digits",
        [information("image", onnx.TensorProto.FLOAT, ["batch", 8, 8, 1])],
        [information("probabilities", onnx.TensorProto.FLOAT, ["batch", 10])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="examples/digits/train.py"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=SEED, help="of the split, the weights and the order")
    arguments.add_argument("--out", type=pathlib.Path, default=HERE, help="directory to write to")
    arguments = arguments.parse_args()

    images, labels, pixels, train_indices, test_indices = load_split(arguments.seed)
    random = np.random.default_rng(arguments.seed)
    network = Network(random)
    train(network, images[train_indices], labels[train_indices], random, arguments.epochs)

    model = export(network)
    path = arguments.out / "model.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    (arguments.out / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))

    # The accuracy is that of the file, as somebody else's runtime reads it.
    (answer,) = onnx.reference.ReferenceEvaluator(str(path)).run(None, {"image": images[test_indices]})
    right = int((answer.argmax(-1) == labels[test_indices]).sum())
    print(f"test accuracy: {right}/{len(test_indices)} = {right / len(test_indices):.2%}")
    print(f"model: {path.stat().st_size} bytes, {sum(l.weight.size + l.bias.size for l in network.layers())} parameters")

    # The first of each class in the order of the split, right or wrong.
    (arguments.out / "images").mkdir(exist_ok=True)
    for digit in range(10):
        for index in test_indices[labels[test_indices] == digit][:SAMPLES_PER_CLASS]:
            Image.fromarray(pixels[index]).save(arguments.out / "images" / f"digit-{digit}-{index:04}.png", optimize=True)


if __name__ == "__main__":
    main()
