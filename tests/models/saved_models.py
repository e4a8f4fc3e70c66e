"""Writes Keras and TensorFlow SavedModels with random weights from a fixed seed.

    python saved_models.py DIRECTORY [NAME...]

Each model becomes DIRECTORY/NAME. With names, only those are written. Needs the
packages `tensorflow` and `tf_keras`. `compare_saved_models.py` imports what is
written here and compares it with TensorFlow's own answers.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SEED = 12
MODELS = {}


def model(function):
    """Registers a function that writes one SavedModel to the path it is given."""
    MODELS[function.__name__] = function
    return function


def randomise(network):
    """Gives every weight a value that matters: a fresh normalisation changes nothing."""
    random = np.random.default_rng(SEED)
    for weight in network.weights:
        name = weight.path if hasattr(weight, "path") else weight.name
        if "float" not in str(weight.dtype):
            continue
        shape = tuple(weight.shape)
        if "variance" in name or "gamma" in name:
            value = random.uniform(0.8, 1.2, shape)
        elif "bias" in name or "beta" in name or "mean" in name:
            value = random.normal(0, 0.1, shape)
        else:
            continue
        weight.assign(value.astype("float32"))
    return network


def application(constructor, size):
    def write(path):
        keras.utils.set_random_seed(SEED)
        network = constructor(weights=None, input_shape=(size, size, 3))
        randomise(network).export(path, verbose=False)

    return write


for name, constructor, size in [
    ("resnet50", keras.applications.ResNet50, 224),
    ("resnet50v2", keras.applications.ResNet50V2, 160),
    ("vgg11", None, 96),
    ("mobilenet", keras.applications.MobileNet, 160),
    ("mobilenetv2", keras.applications.MobileNetV2, 160),
    ("mobilenetv3small", keras.applications.MobileNetV3Small, 160),
    ("mobilenetv3large", keras.applications.MobileNetV3Large, 160),
    ("efficientnetb0", keras.applications.EfficientNetB0, 160),
    ("efficientnetv2b0", keras.applications.EfficientNetV2B0, 160),
    ("densenet121", keras.applications.DenseNet121, 160),
    ("inceptionv3", keras.applications.InceptionV3, 160),
    ("inceptionresnetv2", keras.applications.InceptionResNetV2, 160),
    ("xception", keras.applications.Xception, 160),
    ("nasnetmobile", keras.applications.NASNetMobile, 224),
    ("convnexttiny", keras.applications.ConvNeXtTiny, 96),
    ("vgg16", keras.applications.VGG16, 96),
]:
    if constructor is not None:
        MODELS[name] = application(constructor, size)


def export(path, inputs, outputs):
    randomise(keras.Model(inputs, outputs)).export(path, verbose=False)


@model
def vgg11(path):
    x = inputs = keras.Input((96, 96, 3))
    for filters, count in [(32, 1), (64, 1), (128, 2), (256, 2), (256, 2)]:
        for _ in range(count):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPool2D()(x)
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    export(path, inputs, layers.Dense(10, activation="softmax")(layers.Dropout(0.5)(x)))


@model
def lstm(path):
    inputs = keras.Input((20, 8))
    export(path, inputs, layers.Dense(3)(layers.LSTM(16)(inputs)))


@model
def gru(path):
    inputs = keras.Input((20, 8))
    export(path, inputs, layers.Dense(3)(layers.GRU(16)(inputs)))


@model
def gru_reset_before(path):
    inputs = keras.Input((None, 8))
    export(path, inputs, layers.GRU(16, reset_after=False, return_sequences=True)(inputs))


@model
def simple_rnn(path):
    inputs = keras.Input((20, 8))
    export(path, inputs, layers.SimpleRNN(16, return_sequences=True)(inputs))


@model
def lstm_bidirectional(path):
    inputs = keras.Input((None, 8))
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(inputs)
    export(path, inputs, layers.Dense(3)(layers.Bidirectional(layers.LSTM(8))(x)))


@model
def lstm_stacked(path):
    inputs = keras.Input((None, 8))
    x = layers.LSTM(16, return_sequences=True)(inputs)
    x = layers.LSTM(16, return_sequences=True, go_backwards=True)(x)
    x, hidden, cell = layers.LSTM(12, return_state=True)(x)
    export(path, inputs, [x, hidden, cell])


@model
def lstm_masked(path):
    inputs = keras.Input((20,), dtype="int32")
    x = layers.Embedding(50, 8, mask_zero=True)(inputs)
    export(path, inputs, layers.Dense(3)(layers.LSTM(16)(x)))


@model
def lstm_unrolled(path):
    inputs = keras.Input((6, 8))
    export(path, inputs, layers.LSTM(16, unroll=True)(inputs))


@model
def conv_lstm(path):
    inputs = keras.Input((5, 12, 12, 3))
    export(path, inputs, layers.ConvLSTM2D(4, 3, padding="same")(inputs))


@model
def transformer(path):
    inputs = keras.Input((16, 32))
    x = layers.MultiHeadAttention(4, 8)(inputs, inputs)
    x = layers.LayerNormalization()(x + inputs)
    y = layers.Dense(32)(layers.Dense(64, activation="gelu")(x))
    x = layers.LayerNormalization()(x + y)
    export(path, inputs, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))


@model
def text_classifier(path):
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(100, 32, mask_zero=True)(inputs)
    x = layers.MultiHeadAttention(2, 16)(x, x, use_causal_mask=True)
    x = layers.GlobalAveragePooling1D()(x)
    export(path, inputs, layers.Dense(4, activation="softmax")(x))


@model
def attention(path):
    query, value = keras.Input((7, 16)), keras.Input((9, 16))
    x = layers.Attention(use_scale=True)([query, value])
    y = layers.AdditiveAttention()([query, value])
    export(path, [query, value], layers.Concatenate()([x, y]))


@model
def unet(path):
    inputs = keras.Input((64, 64, 3))
    a = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    b = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(a)
    c = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(b)
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu")(c)
    x = layers.Concatenate()([x, b])
    x = layers.Conv2DTranspose(8, 4, strides=2, padding="same")(x)
    x = layers.Concatenate()([layers.BatchNormalization()(x), a])
    x = layers.Conv2DTranspose(4, 3, padding="valid")(x)
    export(path, inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


@model
def unet_any_size(path):
    inputs = keras.Input((None, None, 3))
    a = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    b = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(a)
    x = layers.UpSampling2D(2)(b)
    x = layers.Conv2DTranspose(8, 2, strides=2, padding="same")(layers.MaxPool2D()(x))
    export(path, inputs, layers.Conv2D(1, 1)(layers.Add()([x, a])))


@model
def convolutions(path):
    inputs = keras.Input((32, 32, 8))
    outputs = [
        layers.Conv2D(16, 3, groups=4, padding="same")(inputs),
        layers.Conv2D(16, 3, dilation_rate=2, padding="same")(inputs),
        layers.Conv2D(16, 3, dilation_rate=(2, 3), padding="valid")(inputs),
        layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", depth_multiplier=2)(inputs),
        layers.DepthwiseConv2D(3, dilation_rate=3, padding="valid")(inputs),
        layers.SeparableConv2D(12, 5, strides=2, padding="same")(inputs),
        layers.AveragePooling2D(3, strides=2, padding="same")(inputs),
        layers.UpSampling2D(2)(inputs),
        layers.UpSampling2D(2, interpolation="bilinear")(inputs),
        layers.ZeroPadding2D(((1, 2), (3, 4)))(inputs),
        layers.Cropping2D(((1, 2), (3, 4)))(inputs),
    ]
    outputs = [layers.GlobalAveragePooling2D()(layers.Activation("tanh")(x)) for x in outputs]
    export(path, inputs, layers.Concatenate()(outputs))


@model
def signals(path):
    inputs = keras.Input((64, 4))
    x = layers.Conv1D(8, 5, padding="causal", dilation_rate=2, activation="relu")(inputs)
    x = layers.Conv1D(8, 3, strides=2, padding="same")(x)
    x = layers.MaxPool1D(2)(layers.GroupNormalization(4)(x))
    x = layers.Conv1DTranspose(6, 3, strides=2, padding="same")(x)
    x = layers.SeparableConv1D(6, 3)(x)
    export(path, inputs, layers.GlobalMaxPooling1D()(layers.PReLU()(x)))


@model
def volumes(path):
    inputs = keras.Input((12, 12, 12, 2))
    x = layers.Conv3D(4, 3, padding="same", activation="selu")(inputs)
    x = layers.AveragePooling3D(2)(layers.MaxPool3D(2, padding="same")(x))
    x = layers.Conv3DTranspose(3, 2, strides=2)(x)
    export(path, inputs, layers.Flatten()(x))


@model
def activations(path):
    inputs = keras.Input((10,))
    names = "elu selu relu relu6 leaky_relu gelu silu softplus softsign hard_sigmoid hard_silu mish".split()
    names += "exponential log_softmax softmax tanh sigmoid linear".split()
    x = layers.Dense(10)(inputs)
    export(path, inputs, [layers.Activation(name)(x) for name in names])


@model
def string_lookup(path):
    colour = keras.Input((1,), dtype="string", name="colour")
    number = keras.Input((1,), dtype="int64", name="number")
    words = layers.StringLookup(vocabulary=["red", "green", "blue"], output_mode="one_hot")(colour)
    numbers = layers.IntegerLookup(vocabulary=[3, 5, 1000000007], output_mode="one_hot")(number)
    x = layers.Concatenate()([words, numbers])
    export(path, [colour, number], layers.Dense(2)(x))


@model
def string_labels(path):
    """A classifier that answers with words: a table from numbers to strings."""
    inputs = keras.Input((4,))
    labels = layers.StringLookup(vocabulary=["a", "b", "c"], invert=True, num_oov_indices=0)
    scores = layers.Dense(3)(inputs)
    export(path, inputs, {"label": labels(keras.ops.argmax(scores, axis=-1)), "scores": scores})


def text_file(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


@model
def vocabulary_file(path):
    """A hash table from a file of the directory `assets`."""

    class Vocabulary(tf.Module):
        def __init__(self):
            super().__init__()
            self.file = tf.saved_model.Asset(text_file("/tmp/adytum-vocabulary/words.txt", ["one", "two", "three"]))
            fill = tf.lookup.TextFileInitializer(
                self.file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            )
            self.table = tf.lookup.StaticHashTable(fill, -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.string, name="words")])
        def lookup(self, words):
            return {"ids": self.table.lookup(words)}

    module = Vocabulary()
    tf.saved_model.save(module, path, signatures=module.lookup)


@model
def half_plus_two(path):
    """TensorFlow Serving's test model: Predict, Regress and Classify, with tf.Example."""
    tf1 = tf.compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        a = tf1.get_variable("a", initializer=0.5, use_resource=True)
        b = tf1.get_variable("b", initializer=2.0, use_resource=True)
        c = tf1.get_variable("c", initializer=3.0, use_resource=True)
        serialized = tf1.placeholder(tf.string, name="tf_example")
        features = {
            "x": tf1.FixedLenFeature([1], tf.float32),
            "x2": tf1.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        }
        example = tf1.parse_example(serialized, features)
        x = tf.identity(example["x"], name="x")
        y = tf.add(tf.multiply(a, x), b, name="y")
        y2 = tf.add(tf.multiply(a, x), c, name="y2")
        y3 = tf.add(tf.multiply(a, tf.identity(example["x2"], name="x2")), c, name="y3")
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(path)
        info = tf1.saved_model.build_tensor_info
        definition = tf1.saved_model.signature_def_utils.build_signature_def
        text = {"inputs": info(serialized)}
        builder.add_meta_graph_and_variables(
            session,
            [tf1.saved_model.tag_constants.SERVING],
            signature_def_map={
                "serving_default": definition({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
                "regress_x_to_y": definition(text, {"outputs": info(y)}, "tensorflow/serving/regress"),
                "regress_x_to_y2": definition(text, {"outputs": info(y2)}, "tensorflow/serving/regress"),
                "regress_x2_to_y3": definition(text, {"outputs": info(y3)}, "tensorflow/serving/regress"),
                "classify_x_to_y": definition(text, {"scores": info(y)}, "tensorflow/serving/classify"),
            },
        )
        builder.save()


@model
def example_classifier(path):
    """Classify with words as classes, from several features, written by TensorFlow 2."""

    class Classifier(tf.Module):
        def __init__(self):
            super().__init__()
            random = np.random.default_rng(SEED)
            self.weights = tf.Variable(random.normal(size=(5, 3)).astype("float32"))
            self.kinds = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(["low", "high"], tf.constant([1, 2], tf.int64)), 0
            )
            self.classes = tf.constant(["a", "b", "c"])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def classify(self, inputs):
            features = tf.io.parse_example(
                inputs,
                {
                    "numbers": tf.io.FixedLenFeature([3], tf.float32, [1.0, 2.0, 3.0]),
                    "count": tf.io.FixedLenFeature([], tf.int64),
                    "kind": tf.io.FixedLenFeature([], tf.string, "low"),
                },
            )
            count = tf.cast(features["count"], tf.float32)[:, None]
            kind = tf.cast(self.kinds.lookup(features["kind"]), tf.float32)[:, None]
            x = tf.concat([features["numbers"], count, kind], axis=1)
            scores = tf.nn.softmax(tf.matmul(x, self.weights))
            classes = tf.tile(self.classes[None], [tf.shape(scores)[0], 1])
            return {"classes": classes, "scores": scores}

    module = Classifier()
    tf.saved_model.save(module, path, signatures={"serving_default": module.classify})
    # tf.saved_model.save has no way to say which method a signature is for.
    file = os.path.join(path, "saved_model.pb")
    with open(file, "rb") as stream:
        saved = _saved_model()
        saved.ParseFromString(stream.read())
    saved.meta_graphs[0].signature_def["serving_default"].method_name = "tensorflow/serving/classify"
    with open(file, "wb") as stream:
        stream.write(saved.SerializeToString())


def _saved_model():
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel()


@model
def control_flow(path):
    """A loop that ends on what it computes, and a branch."""

    class Flow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def run(self, x):
            steps = tf.constant(0)
            while tf.reduce_sum(tf.abs(x)) > 1.0:
                x = x * 0.5
                steps += 1
            y = tf.where(x > 0.05, x, -x)
            if tf.reduce_sum(y) > 0.5:
                y = y + 1.0
            else:
                y = y - 1.0
            return {"y": y, "steps": steps}

    module = Flow()
    tf.saved_model.save(module, path, signatures=module.run)


def functions(path, specs, build):
    """A SavedModel of one function that answers with a list of tensors."""

    class Functions(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec(shape, kind, name=name) for name, shape, kind in specs])
        def run(self, *inputs):
            return {f"y{index:02}": value for index, value in enumerate(build(*inputs))}

    module = Functions()
    tf.saved_model.save(module, path, signatures=module.run)


@model
def operators_elementwise(path):
    def build(x, n):
        y = x - 0.5
        m = tf.cast(n, tf.int64) - 20
        unary = "abs acos asin atan cos cosh exp expm1 floor log1p negative reciprocal rsqrt sigmoid sign sin sinh"
        unary += " softplus sqrt square tan tanh asinh erf round"
        results = [getattr(tf.math, name)(x if name in ("rsqrt", "sqrt", "acos") else y) for name in unary.split()]
        results += [
            tf.math.erfc(y), tf.math.divide_no_nan(x, tf.round(x)), tf.math.floordiv(y, 0.3), tf.math.floormod(y, 0.3),
            m // 7, m % 7, m // -7, m % -7, tf.math.truediv(m, 3), tf.truncatediv(m, 3), tf.pow(x, 2.5),
            tf.nn.elu(y), tf.nn.selu(y), tf.nn.relu6(y * 20), tf.nn.leaky_relu(y, 0.1), tf.nn.softsign(y),
            tf.nn.softmax(y), tf.nn.log_softmax(y), tf.maximum(x, y), tf.minimum(m, 3), tf.math.squared_difference(x, y),
            tf.add_n([x, y, x]), tf.clip_by_value(y, -0.2, 0.3), tf.where(y > 0, x, -x), tf.zeros_like(m),
            tf.ones_like(x), tf.logical_and(y > 0, x < 0.7), tf.logical_or(y > 0, x < 0.7), tf.logical_not(y > 0),
            tf.not_equal(m, 3), tf.math.is_nan(tf.math.log(y)), tf.math.is_inf(1 / tf.round(x)), tf.cast(y * 10, tf.int32),
            tf.cast(m, tf.float32), tf.cast(m, tf.bool), tf.cast(y > 0, tf.float32), tf.nn.bias_add(x, [1.0, 2, 3, 4, 5]),
        ]
        return results

    functions(path, [("x", [None, 5], tf.float32), ("n", [None, 5], tf.int32)], build)


@model
def operators_shapes(path):
    def build(x, y):
        batch = tf.shape(x)[0]
        return [
            tf.shape(x), tf.size(x), tf.rank(x) + 0, tf.reshape(x, [batch, -1]), tf.reshape(x, [-1, 3]),
            tf.reshape(x, [batch * 2, 2, 3]), tf.expand_dims(y, 1),
            tf.transpose(x, [2, 0, 1]), tf.concat([x, x + 1], 1), tf.stack([x, -x], axis=-1), *tf.unstack(x, axis=1),
            *tf.split(x, 2, axis=1), *tf.split(x, [1, -1], axis=2), tf.squeeze(x[:, :1], 1), tf.tile(y, [1, 2]),
            tf.tile(y, [batch, 1]), tf.fill([batch, 2], 3.0), tf.range(batch), tf.broadcast_to(y[:, None], [batch, 4, 4]),
            tf.pad(x, [[0, 0], [1, 2], [0, 1]]), tf.pad(x, [[0, 0], [1, 1], [1, 1]], constant_values=7.0),
            tf.pad(x, [[0, 0], [1, 2], [1, 1]], mode="REFLECT"), tf.zeros([batch, 2]), tf.one_hot(tf.cast(y * 4, tf.int32) - 1, 3),
            tf.one_hot(tf.cast(y * 4, tf.int64), 3, 2.0, -1.0, axis=1), tf.meshgrid(tf.range(batch), tf.range(3))[0],
            tf.repeat(x, 2, axis=1), tf.eye(4) + x[0, 0, 0], tf.linalg.diag(y), tf.roll(x, 1, 1),
            tf.linalg.band_part(x, 1, 0), tf.linalg.band_part(x, -1, 1), tf.math.is_finite(1 / tf.round(y)),
            tf.raw_ops.Bucketize(input=y, boundaries=[0.2, 0.5, 0.7]),
            tf.math.bincount(tf.cast(y * 3, tf.int32), minlength=3, maxlength=3, axis=-1),
        ]

    functions(path, [("x", [None, 4, 3], tf.float32), ("y", [None, 4], tf.float32)], build)


@model
def operators_slices(path):
    def build(x, i):
        batch = tf.shape(x)[0]
        index = tf.math.floormod(i, 4)
        pairs = tf.stack([tf.zeros_like(index[:, 0]), index[:, 0]], axis=1)
        return [
            x[:, 1:3], x[:, ::-1], x[:, -1], x[..., 0], x[:, tf.newaxis, 1], x[:, 3:0:-2, 1:], x[batch - 1], x[:, 1, 2],
            x[0], x[-1:, ..., ::2], tf.slice(x, [0, 1, 0], [-1, 2, 3]), tf.slice(x, [0, 0, 0], [batch, 2, 1]),
            tf.gather(x, [2, 0], axis=1), tf.gather(x, index, axis=1, batch_dims=1), tf.gather(x[0], index),
            tf.gather_nd(x, pairs), tf.reverse(x, [1, 2]), tf.scatter_nd(index[:, :1], x[:, 0], [4, 3]),
            tf.tensor_scatter_nd_update(tf.zeros([4, 3]), [[1], [3]], x[0, :2]),
            tf.tensor_scatter_nd_add(tf.zeros([4, 3]), [[1], [1]], x[0, :2]),
            tf.reverse_sequence(x, index[:, 0] + 1, seq_axis=1, batch_axis=0),
        ]

    functions(path, [("x", [None, 4, 3], tf.float32), ("i", [None, 2], tf.int32)], build)


@model
def operators_linear(path):
    def build(x, n):
        y = tf.reshape(tf.linspace(-1.0, 1.0, 15), [3, 5])
        return [
            tf.matmul(x, y), tf.matmul(x, x, transpose_b=True), tf.matmul(x, x, transpose_a=True),
            tf.linalg.matmul(x[0], y, transpose_b=False), tf.einsum("bij,jk->bik", x, y), tf.einsum("bij,bkj->bik", x, x),
            tf.einsum("...ij,jk->...ik", x, y), tf.reduce_mean(x, 1), tf.reduce_sum(x, [1, 2]), tf.reduce_max(x, -1, True),
            tf.reduce_min(n, 1), tf.reduce_prod(x, 1), tf.reduce_sum(n), tf.reduce_all(n > 3, 1), tf.reduce_any(n > 40, 1),
            tf.argmax(x, 1), tf.argmin(x, -1, tf.int32), tf.cumsum(x, 1), tf.cumsum(x, 1, exclusive=True, reverse=True),
            *tf.math.top_k(x, 2), tf.norm(x, axis=-1), tf.nn.l2_loss(x), tf.nn.l2_normalize(x, -1), tf.math.reduce_std(x, 1),
            tf.reduce_logsumexp(x, -1), tf.tensordot(x, y, 1), tf.math.reduce_euclidean_norm(x, 1), tf.math.argmax(n, 1),
        ]

    functions(path, [("x", [None, 4, 3], tf.float32), ("n", [None, 4], tf.int32)], build)


@model
def operators_images(path):
    random = np.random.default_rng(SEED)

    def kernel(*shape):
        return tf.constant(random.normal(size=shape).astype("float32") / 4)

    def build(x, any_size):
        results = [
            tf.nn.conv2d(x, kernel(3, 3, 4, 6), [1, 2, 2, 1], [[0, 0], [1, 2], [0, 1], [0, 0]]),
            tf.nn.conv2d(any_size, kernel(3, 3, 4, 6), 2, "SAME"), tf.nn.conv2d(any_size, kernel(4, 2, 4, 6), 1, "SAME"),
            tf.nn.depthwise_conv2d(any_size, kernel(3, 3, 4, 2), [1, 2, 2, 1], "SAME"),
            tf.nn.max_pool2d(any_size, 3, 2, "SAME"), tf.nn.avg_pool2d(any_size, 3, 2, "SAME"),
            tf.nn.max_pool2d(x, [2, 3], [2, 1], "VALID"), tf.nn.lrn(x, 2, 1.0, 0.5, 0.6),
            tf.image.resize(x, [12, 13]), tf.image.resize(any_size, [16, 16]), tf.image.resize(x, [18, 24], "nearest"),
            tf.compat.v1.image.resize_bilinear(x, [12, 13], align_corners=True),
            tf.compat.v1.image.resize_bilinear(x, [12, 13]), tf.compat.v1.image.resize_nearest_neighbor(x, [12, 13]),
            tf.compat.v1.image.resize_nearest_neighbor(x, [18, 24]),
            tf.nn.depth_to_space(x, 2), tf.nn.space_to_depth(x[:, :8], 2), tf.nn.conv2d(any_size, kernel(3, 3, 4, 2), 1, "SAME", dilations=2),
            tf.nn.conv2d_transpose(x, kernel(3, 3, 5, 4), [tf.shape(x)[0], 18, 16, 5], 2, "SAME"),
            tf.nn.conv2d_transpose(x, kernel(3, 3, 5, 4), [tf.shape(x)[0], 17, 15, 5], 2, "SAME"),
            tf.space_to_batch(x, [2, 2], [[1, 0], [0, 0]]), tf.image.flip_left_right(x), tf.image.adjust_brightness(x, 0.1),
            tf.image.per_image_standardization(x),
        ]
        return results

    functions(path, [("x", [None, 9, 8, 4], tf.float32), ("any_size", [None, None, None, 4], tf.float32)], build)


def legacy(build):
    """A model of Keras 2, saved as users of tf.keras did: `input_1`, `activation_49`."""

    def write(path):
        import tf_keras

        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(SEED)
        randomise(build(tf_keras)).save(path)

    return write


def legacy_lstm(k):
    inputs = k.Input((None, 8))
    x = k.layers.Bidirectional(k.layers.LSTM(16, return_sequences=True))(inputs)
    return k.Model(inputs, k.layers.Dense(3)(k.layers.LSTM(8)(x)))


def legacy_gru(k):
    inputs = k.Input((20,), dtype="int32")
    x = k.layers.Embedding(50, 8, mask_zero=True)(inputs)
    x = k.layers.GRU(16, return_sequences=True)(x)
    return k.Model(inputs, k.layers.Dense(3)(k.layers.GRU(8)(x)))


MODELS["legacy_resnet50"] = legacy(lambda k: k.applications.ResNet50(weights=None))
MODELS["legacy_mobilenetv2"] = legacy(lambda k: k.applications.MobileNetV2(weights=None, input_shape=(160, 160, 3)))
MODELS["legacy_efficientnetb0"] = legacy(lambda k: k.applications.EfficientNetB0(weights=None, input_shape=(128, 128, 3)))
MODELS["legacy_lstm"] = legacy(legacy_lstm)
MODELS["legacy_gru_masked"] = legacy(legacy_gru)


def main(arguments):
    if not arguments:
        sys.exit(__doc__)
    directory, names = arguments[0], arguments[1:] or list(MODELS)
    failures = 0
    for name in names:
        path = os.path.join(directory, name)
        if os.path.exists(os.path.join(path, "saved_model.pb")):
            continue
        keras.backend.clear_session()
        keras.utils.set_random_seed(SEED)
        try:
            MODELS[name](path)
            print(name, flush=True)
        except Exception as error:  # one model that a version of Keras can't write must not stop the others
            failures += 1
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
