"""Writes the small SavedModels that the tests of the crate `adytum-import` read, with
TensorFlow's own answers.

    python import_fixtures.py crates/import/tests/data

Each becomes DIRECTORY/NAME, with `expected.json` beside its `saved_model.pb`: inputs and
outputs of one call, in row-major order. Needs the packages `tensorflow` and `tf_keras`.
"""

import json
import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import saved_model_pb2

import saved_models


def convolution(path):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(2, padding="same")(x)
    x = layers.MaxPool2D(2)(layers.Add()([x, layers.Conv2D(4, 1)(x)]))
    saved_models.export(path, inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


def lstm(path):
    inputs = keras.Input((None, 3))
    saved_models.export(path, inputs, layers.LSTM(4, return_sequences=True)(inputs))


def loop(path):
    """A loop that stays one: its end is computed."""

    class Loop(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def run(self, x):
            while tf.reduce_sum(tf.abs(x)) > 1.0:
                x = x * 0.5
            return {"y": x}

    module = Loop()
    tf.saved_model.save(module, path, signatures=module.run)


FIXTURES = {
    "convolution": (convolution, {"keras_tensor": [2, 6, 6, 2]}),
    "lstm": (lstm, {"keras_tensor": [2, 5, 3]}),
    "loop": (loop, {"x": [3, 2]}),
    "half_plus_two": (saved_models.MODELS["half_plus_two"], {"x": [3, 1]}),
    "vocabulary_file": (saved_models.MODELS["vocabulary_file"], None),
    "example_classifier": (saved_models.MODELS["example_classifier"], None),
}


def shrink(path, without_definitions):
    """Takes out what only training and debugging read, and the second signature that Keras writes."""
    file = os.path.join(path, "saved_model.pb")
    saved = saved_model_pb2.SavedModel()
    with open(file, "rb") as stream:
        saved.ParseFromString(stream.read())
    meta = saved.meta_graphs[0]
    meta.ClearField("object_graph_def")
    meta.signature_def.pop("serve", None)
    # What saves variables, and functions that nothing calls.
    save = meta.saver_def.save_tensor_name.split(":")[0]
    kept = [node for node in meta.graph_def.node if node.name != save]
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(kept)
    library = {function.signature.name: function for function in meta.graph_def.library.function}
    called, open_nodes = set(), list(kept)
    while open_nodes:
        for attribute in open_nodes.pop().attr.values():
            if attribute.func.name in library and attribute.func.name not in called:
                called.add(attribute.func.name)
                open_nodes.extend(library[attribute.func.name].node_def)
    del meta.graph_def.library.function[:]
    meta.graph_def.library.function.extend(library[name] for name in sorted(called))
    if without_definitions:
        meta.meta_info_def.ClearField("stripped_op_list")
    nodes = [*meta.graph_def.node]
    for function in meta.graph_def.library.function:
        nodes.extend(function.node_def)
        for key in list(function.arg_attr):
            del function.arg_attr[key]
        for key in list(function.attr):
            del function.attr[key]
    for node in nodes:
        node.ClearField("experimental_debug_info")
        for key in list(node.attr):
            if key.startswith("_"):
                del node.attr[key]
    with open(file, "wb") as stream:
        stream.write(saved.SerializeToString(deterministic=True))
    fingerprint = os.path.join(path, "fingerprint.pb")
    if os.path.exists(fingerprint):
        os.remove(fingerprint)


def listed(value):
    value = np.asarray(value)
    return {"shape": list(value.shape), "values": [float(number) for number in value.ravel()]}


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    for name, (write, shapes) in FIXTURES.items():
        path = os.path.join(arguments[0], name)
        shutil.rmtree(path, ignore_errors=True)
        keras.backend.clear_session()
        keras.utils.set_random_seed(saved_models.SEED)
        write(path)
        if shapes is not None:
            random = np.random.default_rng(saved_models.SEED)
            function = tf.saved_model.load(path).signatures["serving_default"]
            feeds = {key: random.random(shape, dtype=np.float32) for key, shape in shapes.items()}
            answer = function(**{key: tf.constant(value) for key, value in feeds.items()})
            record = {
                "inputs": {key: listed(value) for key, value in feeds.items()},
                "outputs": {key: listed(value.numpy()) for key, value in answer.items()},
            }
            with open(os.path.join(path, "expected.json"), "w", encoding="utf-8") as stream:
                json.dump(record, stream)
        # Some files lack their operators' definitions: the importer's own table has the defaults.
        shrink(path, without_definitions=name in ("convolution", "lstm"))
        assets = os.path.join(path, "assets")
        if os.path.isdir(assets) and not os.listdir(assets):
            os.rmdir(assets)
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
