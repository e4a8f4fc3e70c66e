"""ONNX's node tests at every opset from 7 up and at batch 1 and 2, against ONNX Runtime.

    tests/conformance/install.sh
    target/conformance/environment/bin/pip install -r tests/conformance/sweep.txt
    cargo build -p adytum-engine --example answers
    target/conformance/environment/bin/python tests/conformance/sweep.py TESTS EXAMPLE [PART OF A NAME]

Each node test is given every opset that ONNX Runtime takes its model with: as it is, and with
its inputs twice along their first dimension, which the model then does not know. The engine
must answer as ONNX Runtime does, or refuse the model. differences.txt names the cases in
which ONNX Runtime is mistaken, or in which both answers are right.
"""

import collections
import fnmatch
import multiprocessing
import os
import pathlib
import sys
import time

import engine
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

LIST = pathlib.Path(__file__).with_name("differences.txt")
REFUSALS = pathlib.Path(__file__).with_name("refusals.txt")
FIRST = 7
# Tests whose records the engine gets at once.
SHARE = 24


def tensor(path):
    message = onnx.TensorProto()
    message.ParseFromString(path.read_bytes())
    if message.data_type == onnx.TensorProto.STRING:
        texts = [text.decode() for text in message.string_data]
        return np.array(texts, dtype=object).reshape(list(message.dims))
    return numpy_helper.to_array(message)


def twice(model, inputs):
    """The model with an unknown first dimension, and inputs of two examples; None if there is no such dimension."""
    if not inputs or inputs[0].ndim == 0:
        return None
    batch = inputs[0].shape[0]
    doubled = onnx.ModelProto()
    doubled.CopyFrom(model)
    given = []
    for port, value in zip(doubled.graph.input, inputs):
        if value.ndim and value.shape[0] == batch:
            value = np.concatenate([value, value])
            port.type.tensor_type.shape.dim[0].ClearField("dim_value")
            port.type.tensor_type.shape.dim[0].dim_param = "batch"
        given.append(value)
    for port in doubled.graph.output:
        port.type.tensor_type.ClearField("shape")
    del doubled.graph.value_info[:]
    return doubled, given


def answer(model, inputs):
    """What ONNX Runtime answers; None if it does not."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    feed = {port.name: value for port, value in zip(model.graph.input, inputs)}
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, feed)
    except Exception:  # noqa: BLE001
        return None


def records(tests):
    for test in tests:
        model = onnx.load(test / "model.onnx")
        ports = [*model.graph.input, *model.graph.output]
        if any(port.type.WhichOneof("value") != "tensor_type" for port in ports):
            continue
        data = test / "test_data_set_0"
        inputs = [tensor(data / f"input_{index}.pb") for index in range(len(model.graph.input))]
        own = next((entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
        if own is None:
            opsets = [0]
        else:
            opsets = range(FIRST, onnx.defs.onnx_opset_version() + 1)
        for opset in opsets:
            if own is not None:
                own.version = opset
            forms = [("", (model, inputs)), (" twice", twice(model, inputs))]
            for form, made in forms:
                if made is None:
                    continue
                answers = answer(*made)
                if answers is None or any(not isinstance(value, (np.ndarray, np.generic)) for value in answers):
                    continue
                encode = lambda value: numpy_helper.from_array(np.asarray(value)).SerializeToString()  # noqa: E731
                name = f"{test.name} {opset}{form}"
                yield name, made[0].SerializeToString(), [*map(encode, made[1])], [*map(encode, answers)]


def run(task):
    example, tests = task
    return [(name, outcome.word, outcome.reason) for name, outcome in engine.answer(example, records(tests))]


def read_list():
    lines = [line.strip() for line in LIST.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def main(tests, example, part=""):
    started = time.monotonic()
    onnxruntime.set_default_logger_severity(4)
    cases = sorted(path for path in pathlib.Path(tests).iterdir() if path.is_dir() and part in path.name)
    tasks = [(example, cases[start : start + SHARE]) for start in range(0, len(cases), SHARE)]
    counts, met, problems = collections.Counter(), collections.Counter(), []
    refusals, reasons = collections.Counter(), {}
    known = read_list()
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for outcomes in pool.imap_unordered(run, tasks):
            for name, word, reason in outcomes:
                if word in ("wrong", "failed"):
                    pattern = next((pattern for pattern in known if fnmatch.fnmatchcase(name, pattern)), None)
                    if pattern is None:
                        problems.append(f"{name}: {word}: {reason}")
                    else:
                        met[pattern] += 1
                        word = "known"
                if word == "refused":
                    refusals[name.split()[0]] += 1
                    reasons[name.split()[0]] = reason
                counts[word] += 1
    for problem in sorted(problems):
        print(problem)
    unmet = [] if part else [pattern for pattern in known if not met[pattern]]
    for pattern in unmet:
        print(f"{LIST.name}: nothing differs as {pattern!r} says")
    print(f"ONNX {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}: {sum(counts.values())} cases of {len(cases)} node tests in {time.monotonic() - started:.0f} s")
    print(f"{counts['right']:6} right")
    print(f"{counts['known']:6} different for a reason that {LIST.name} has")
    print(f"{counts['refused']:6} refused at load, of {len(refusals)} node tests; refused at some opset only:")
    listed = {line.split()[1] for line in REFUSALS.read_text().splitlines() if line and not line.startswith("#")}
    for name in sorted(set(refusals) - listed):
        print(f"{refusals[name]:10} {name}: {reasons[name]}")
    print(f"{counts['failed']:6} failed after they were loaded")
    print(f"{counts['wrong']:6} wrong")
    if problems or unmet or not counts:
        sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
