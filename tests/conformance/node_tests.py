"""ONNX's node tests through the real server, each a model of its own.

    tests/conformance/install.sh
    cargo build --workspace --bins && cargo build -p adytum-engine --example answers
    target/conformance/environment/bin/python tests/conformance/node_tests.py TESTS SERVER EXAMPLE [PART OF A NAME]

TESTS is what install.sh wrote (target/conformance/tests), SERVER the binary
adytum-serving, EXAMPLE the engine's example `answers`. A model whose inputs and
outputs the API can't carry (sequences, optionals) goes through the example.

Each test is right, or its model is refused at load, with the code and for the reason that
refusals.txt has. All else fails: a wrong answer, an error after the model was loaded, a
refusal that is not listed or has another code, and a line of the list that holds no more.
"""

import concurrent.futures
import os
import pathlib
import signal
import sys
import tempfile
import time

import engine
import grpc
import messages
import numpy as np
import onnx
import server
from engine import Outcome
from onnx import numpy_helper

LIST = pathlib.Path(__file__).with_name("refusals.txt")

# The code with which the server refuses a model whose values are not tensors.
NOT_TENSORS = "model-not-tensors"

# Floats may differ by these parts of the expected value, and by 1e-5: ONNX's own runner
# has the same ones. 2**-6 is two units in the last place of bfloat16.
TOLERANCE, TOLERANCE_OF_BFLOAT16 = 1e-3, 2**-6
ABSOLUTE = 1e-5


def read_list():
    """The known refusals: of each test its code, and the sections with their reasons."""
    known, sections = {}, []
    fresh = True
    for number, line in enumerate(LIST.read_text().splitlines(), 1):
        if line.startswith("#"):
            if fresh:
                sections.append(([], []))
                fresh = False
            sections[-1][0].append(line[1:].strip())
        elif line.strip():
            fresh = True
            code, name = line.split()
            if name in known:
                raise SystemExit(f"{LIST.name}:{number}: {name} is there twice")
            if not sections:
                raise SystemExit(f"{LIST.name}:{number}: {name} has no reason above it")
            known[name] = code
            sections[-1][1].append(name)
        else:
            fresh = True
    return known, sections


def array(path):
    """A recorded tensor; texts as bytes."""
    message = onnx.TensorProto()
    message.ParseFromString(path.read_bytes())
    if message.data_type == onnx.TensorProto.STRING:
        return np.array(list(message.string_data), dtype=object).reshape(list(message.dims))
    return numpy_helper.to_array(message)


def difference(found, expected):
    """The first difference; None if there is none."""
    if found.shape != expected.shape:
        return f"the shape {found.shape}, expected {expected.shape}"
    if messages.is_text(expected) or messages.is_text(found):
        equal = messages.is_text(expected) and messages.is_text(found) and found.tolist() == expected.tolist()
        return None if equal else f"{found}, expected {expected}"
    if found.dtype != expected.dtype:
        return f"the type {found.dtype}, expected {expected.dtype}"
    if found.dtype.kind in "biu":
        near = found == expected
    else:
        tolerance = TOLERANCE_OF_BFLOAT16 if found.dtype.name == "bfloat16" else TOLERANCE
        a, b = found.astype(np.float64), expected.astype(np.float64)
        near = np.isclose(a, b, rtol=tolerance, atol=ABSOLUTE, equal_nan=True)
    wrong = np.argwhere(~np.asarray(near))
    if wrong.size == 0 and np.all(near):
        return None
    place = tuple(int(index) for index in wrong[0])
    return f"{found[place]} at {list(place)}, expected {expected[place]}; {len(wrong)} of {found.size} differ"


def run(binary, test):
    """One test through the server."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        with server.Server(binary, test / "model.onnx", folder) as running:
            if running.port is None:
                code, reason = running.refusal()
                if code is None or running.process.returncode < 0:
                    return Outcome("failed", reason)
                return Outcome("refused", reason, code)
            graph = onnx.load(test / "model.onnx", load_external_data=False).graph
            with grpc.insecure_channel(f"127.0.0.1:{running.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = messages.prediction_service_pb2_grpc.PredictionServiceStub(channel)
                for data in sorted(test.glob("test_data_set_*")):
                    outcome = predict(stub, graph, data)
                    if outcome.word != "right":
                        return outcome
    return Outcome("right")


def predict(stub, graph, data):
    request = messages.predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    for index, port in enumerate(graph.input):
        given = array(data / f"input_{index}.pb")
        if not messages.is_carried(given):
            return Outcome("failed", f"the model is loaded, and the API does not carry {given.dtype}")
        request.inputs[port.name].CopyFrom(messages.encode(given))
    try:
        answer = stub.Predict(request, timeout=server.TIME, wait_for_ready=True)
    except grpc.RpcError as error:
        return Outcome("failed", f"{error.code().name}: {error.details()}")
    for index, port in enumerate(graph.output):
        if port.name not in answer.outputs:
            return Outcome("wrong", f"the output {port.name} is missing")
        differs = difference(messages.decode(answer.outputs[port.name]), array(data / f"output_{index}.pb"))
        if differs:
            return Outcome("wrong", f"the output {port.name}: {differs}")
    return Outcome("right")


def run_in_engine(example, tests, names):
    """Tests through the engine's example."""

    def records():
        for name in names:
            for data in sorted((pathlib.Path(tests) / name).glob("test_data_set_*")):
                values = lambda kind: [  # noqa: E731
                    (data / f"{kind}_{index}.pb").read_bytes() for index in range(len(list(data.glob(f"{kind}_*"))))
                ]
                yield name, (data.parent / "model.onnx").read_bytes(), values("input"), values("output")

    found = {}
    for name, outcome in engine.answer(example, records()):
        if name not in found or found[name].word == "right":
            found[name] = outcome
    return found


def judge(name, outcome, known):
    """What is wrong with an outcome; None if nothing is."""
    listed = known.get(name)
    if outcome.word == "right":
        return f"right, but listed as refused ({listed}): take it out of {LIST.name}" if listed else None
    if outcome.word == "refused":
        if listed is None:
            return f"refused ({outcome.code}), and not listed: {outcome.reason}"
        if listed != outcome.code:
            return f"refused with the code {outcome.code}, listed with {listed}: {outcome.reason}"
        return None
    return f"{outcome.word}: {outcome.reason}"


def main(tests, binary, example, part=""):
    started = time.monotonic()
    known, sections = read_list()
    cases = sorted(path for path in pathlib.Path(tests).iterdir() if path.is_dir() and part in path.name)
    outcomes = {}
    with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) + 1) as workers:
        waiting = {workers.submit(run, binary, case): case.name for case in cases}
        for done in concurrent.futures.as_completed(waiting):
            name = waiting[done]
            try:
                outcomes[name] = done.result()
            except Exception as error:  # noqa: BLE001
                outcomes[name] = Outcome("failed", f"the test itself: {error!r}")
    inner = sorted(name for name, outcome in outcomes.items() if outcome.code == NOT_TENSORS)
    if inner:
        outcomes.update(run_in_engine(example, tests, inner))

    problems = {name: problem for name in outcomes if (problem := judge(name, outcomes[name], known))}
    if not part:
        problems.update({name: "listed, and there is no such test" for name in known if name not in outcomes})
    for name, problem in sorted(problems.items()):
        print(f"{name}: {problem}")

    count = lambda word, names: sum(outcomes[name].word == word for name in names)  # noqa: E731
    through_server = [name for name in outcomes if name not in inner]
    print(f"ONNX {onnx.__version__}: {len(outcomes)} node tests in {time.monotonic() - started:.0f} s")
    print(f"{count('right', through_server):6} right, through the server")
    print(f"{count('right', inner):6} right, through the engine, since the API has no such values")
    print(f"{count('refused', outcomes):6} refused at load:")
    for reason, names in sections:
        refused = sum(name in outcomes and outcomes[name].word == "refused" for name in names)
        print(f"{refused:10} {reason[0]}")
    unlisted = [name for name, outcome in outcomes.items() if outcome.word == "refused" and name not in known]
    print(f"{len(unlisted):10} for no reason that is listed")
    print(f"{count('failed', outcomes):6} failed after they were loaded")
    print(f"{count('wrong', outcomes):6} wrong")
    if not outcomes or problems:
        print(f"{len(problems)} node tests are not as they should be", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main(*sys.argv[1:])
