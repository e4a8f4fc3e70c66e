"""Imports SavedModels and compares ONNX Runtime's answers with TensorFlow's own.

    python compare_saved_models.py IMPORT DIRECTORY [--record RECORDED] [NAME...]

IMPORT is the program `import`, an example of the crate `adytum-import`. DIRECTORY is
what `saved_models.py` wrote. Every signature is asked at batch 1 and 3. With --record, each
graph is kept in RECORDED together with its inputs and TensorFlow's answers, as `results.py`
takes them: so our engine is compared with TensorFlow, too. Needs the packages `tensorflow`,
`tf_keras`, `onnx` and `onnxruntime`.
"""

import collections
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

onnxruntime.set_default_logger_severity(4)
TOLERANCE = 1e-5
# Texts and numbers that the generator's vocabularies know in part.
WORDS = [b"red", b"green", b"blue", b"one", b"two", b"three", b"low", b"high", b"other"]
NUMBERS = [3, 5, 1000000007, 4]
UNKNOWN_SIZES = {1: 8, 2: 16}


def random_tensor(random, kind, shape):
    if kind == "string":
        return random.choice(np.array(WORDS, dtype=object), shape)
    if kind in ("int32", "int64"):
        low = random.integers(0, 50, shape)
        return low.astype(kind)
    if kind == "bool":
        return random.integers(0, 2, shape).astype(bool)
    return random.random(shape, dtype=np.float32).astype(kind)


def concrete(shape, batch):
    shape = [None] if shape is None else shape
    return [
        size if size is not None else (batch if axis == 0 else UNKNOWN_SIZES.get(axis, 5))
        for axis, size in enumerate(shape)
    ]


def example(features):
    """One serialised tf.Example."""
    lists = {}
    for name, values in features.items():
        values = np.ravel(values)
        if values.dtype == object:
            lists[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=list(values)))
        elif values.dtype == np.int64:
            lists[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=list(values)))
        else:
            lists[name] = tf.train.Feature(float_list=tf.train.FloatList(value=list(values)))
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()


LIST_TYPES = {"int64": "int64", "float": "float32", "bytes": "string"}


def default_of(feature):
    values = feature["default"]
    if values is None:
        return None
    (kind, values), = values.items()
    if kind == "float":
        values = np.array(values, np.uint32).view(np.float32)
    elif kind == "bytes":
        values = np.array([bytes(value) for value in values] + [None], dtype=object)[:-1]
    else:
        values = np.array(values, np.int64)
    shape = [1 if size is None else size for size in feature["shape"]]
    return values.reshape(shape) if values.size == np.prod(shape) else np.broadcast_to(values, shape)


def feeds(signature, batch, random):
    """What TensorFlow is given, and what the graph is given."""
    ours, theirs = {}, {}
    for binding in signature["inputs"]:
        value = random_tensor(random, binding["element_type"], concrete(binding["shape"], batch))
        if binding["name"] == "number":
            value = random.choice(np.array(NUMBERS), value.shape).astype(value.dtype)
        ours[binding["tensor"]] = theirs[binding["name"]] = value
    examples = signature.get("examples")
    if examples:
        rows = []
        for row in range(batch):
            features = {}
            for feature in examples["features"]:
                shape = [2 if size is None else size for size in feature["shape"]]
                value = random_tensor(random, LIST_TYPES[feature["list"]], shape)
                default = default_of(feature)
                # Every second example lacks what it may lack.
                if row % 2 == 1 and default is not None:
                    value = default
                else:
                    features[feature["name"]] = value
                ours.setdefault(feature["tensor"], []).append(value)
            rows.append(example(features))
        for feature in examples["features"]:
            ours[feature["tensor"]] = np.stack(ours[feature["tensor"]])
        theirs[examples["input"]] = np.array(rows + [None], dtype=object)[:-1]
    return theirs, ours


def part(model, signature):
    """The part of the graph that a signature needs: ONNX Runtime wants every input of a graph."""
    wanted = [binding["tensor"] for binding in signature["outputs"]]
    given = [binding["tensor"] for binding in signature["inputs"]]
    if signature.get("examples"):
        given += [feature["tensor"] for feature in signature["examples"]["features"]]
    needed, nodes = set(wanted), []

    def uses(graph):
        for node in graph.node:
            yield from node.input
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from uses(attribute.g)
                    yield from (output.name for output in attribute.g.output)

    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    needed |= set(uses(attribute.g))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for field, items in [
        (copy.graph.node, list(reversed(nodes))),
        (copy.graph.input, [i for i in model.graph.input if i.name in given and i.name in needed]),
        (copy.graph.output, [o for o in model.graph.output if o.name in wanted]),
        (copy.graph.initializer, [i for i in model.graph.initializer if i.name in needed]),
    ]:
        items = list(items)
        del field[:]
        field.extend(items)
    return copy


def difference(ours, theirs):
    """The largest difference, relative to the largest value; None if shapes or texts differ."""
    if ours.shape != theirs.shape:
        return None
    if theirs.dtype == object:
        same = [a.encode() if isinstance(a, str) else a for a in np.ravel(ours)] == list(np.ravel(theirs))
        return 0.0 if same else None
    if theirs.dtype != ours.dtype:
        return None
    if not np.issubdtype(theirs.dtype, np.floating):
        return 0.0 if np.array_equal(ours, theirs) else None
    if theirs.size == 0:
        return 0.0
    scale = max(float(np.abs(theirs).max()), 1e-6)
    worst = float(np.abs(ours.astype(np.float64) - theirs).max()) / scale
    return worst if np.isfinite(worst) else None


def record(recorded, name, graph, inputs, outputs):
    """Keeps a graph, what it is given, and TensorFlow's answers."""
    os.makedirs(recorded, exist_ok=True)

    def plain(arrays):
        # numpy pickles arrays of objects; texts of bytes it writes as they are.
        return {key: value.astype("S") if value.dtype == object else value for key, value in arrays.items()}

    base = os.path.join(recorded, "keras_" + name.replace("/", "_"))
    onnx.save(graph, base + ".onnx")
    np.savez(base + ".inputs.npz", **plain(inputs))
    np.savez(base + ".outputs.npz", **plain(outputs))


def compare(program, path, scratch, recorded=None):
    onnx_file = os.path.join(scratch, "model.onnx")
    start = time.time()
    run = subprocess.run([program, path, onnx_file], capture_output=True, text=True)
    seconds = time.time() - start
    if run.returncode != 0:
        return f"refused: {run.stderr.strip()[:400]}", False
    model = onnx.load(onnx_file)
    # The checker wants a shape where TensorFlow leaves even the rank open.
    if all(value.type.tensor_type.HasField("shape") for value in [*model.graph.input, *model.graph.output]):
        onnx.checker.check_model(onnx_file, full_check=False)
    signatures = json.loads({p.key: p.value for p in model.metadata_props}["adytum.signatures"])
    loaded = tf.saved_model.load(path)
    random = np.random.default_rng(5)
    worst, counts = 0.0, collections.Counter(node.op_type for node in model.graph.node)
    for signature in signatures:
        function = loaded.signatures[signature["name"]]
        graph = part(model, signature)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        for batch in (1, 3):
            theirs, ours = feeds(signature, batch, random)
            # Some TensorFlow 1 functions take one unnamed argument less than they have inputs.
            expected = function(**{name: tf.constant(value) for name, value in theirs.items()})
            # ONNX Runtime takes texts, not bytes.
            texts = np.vectorize(bytes.decode, otypes=[object])
            taken = {given.name for given in session.get_inputs()}
            ours = {name: value for name, value in ours.items() if name in taken}
            if recorded:
                answers = {
                    binding["tensor"]: np.asarray(expected[binding["name"]].numpy())
                    for binding in signature["outputs"]
                }
                name = f"{os.path.basename(path)}_{signature['name']}_{batch}"
                record(recorded, name, graph, ours, answers)
            ours = {
                name: texts(value) if value.dtype == object else value for name, value in ours.items()
            }
            names = [binding["tensor"] for binding in signature["outputs"]]
            results = dict(zip(names, session.run(names, ours)))
            for binding in signature["outputs"]:
                want = expected[binding["name"]].numpy()
                found = difference(results[binding["tensor"]], np.asarray(want))
                if found is None:
                    got = results[binding["tensor"]]
                    return (
                        f"wrong: {signature['name']}/{binding['name']} at batch {batch}: "
                        f"{got.dtype}{list(got.shape)} for {want.dtype}{list(want.shape)}",
                        False,
                    )
                worst = max(worst, found)
    nodes = sum(counts.values())
    summary = f"{len(signatures)} signatures, {nodes} nodes, {counts['Transpose']} transposes, {seconds:.2f} s, {worst:.1e}"
    return summary, worst <= TOLERANCE


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    program, directory, *names = arguments
    recorded = None
    if names[:1] == ["--record"]:
        recorded, *names = names[1:] or sys.exit(__doc__)
    names = names or sorted(os.listdir(directory))
    right = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            try:
                summary, good = compare(program, os.path.join(directory, name), scratch, recorded)
            except Exception as error:  # the table must name every model
                summary, good = f"{type(error).__name__}: {str(error)[:500]}", False
            right += good
            print(f"{name:24} {'right' if good else 'NOT RIGHT'}  {summary}", flush=True)
    print(f"{right} of {len(names)} right")
    sys.exit(0 if right == len(names) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
