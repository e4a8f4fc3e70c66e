"""How accurate trained networks are through the real server: as they are, quantised, and in 16-bit floats.

    tests/conformance/install.sh
    target/conformance/environment/bin/pip install -r tests/conformance/accuracy.txt
    target/conformance/environment/bin/pip download --no-deps -d WHEELS magika rapidocr-onnxruntime
    target/conformance/environment/bin/python tests/conformance/accuracy.py SERVER WHEELS

It fails if
- a log-probability of the digits network is 1e-4 or more from 64-bit floats;
- the server's share of right answers differs by more than 0.3 points from ONNX Runtime's on the same network,
  or with 16-bit floats from 32-bit floats.
A network whose answers in 16-bit floats are too far off is refused by the server, which is printed. What the quantiser
itself changes is printed as well: it is ONNX Runtime's, and the same for both.
"""

import pathlib
import sys
import tempfile
import zipfile

import grpc
import messages
import numpy as np
import onnx
import onnx.reference
import onnx.version_converter
import onnxruntime
import server
from onnx import TensorProto, numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image, ImageDraw, ImageFont

ROOT = pathlib.Path(__file__).resolve().parents[2]
# In points: hundredths of all answers.
ALLOWED = 0.3
LOG_PROBABILITY = 1e-4
BATCH = 16
UNLIMITED = [("grpc.max_receive_message_length", -1)]
# The opset from which on a scale may be of a channel.
FIRST_BY_CHANNEL = 13


class Refused(Exception):
    """The server did not load a model: its code and its reason."""


class Network:
    """A trained network, examples to calibrate with, and examples with their labels.

    The labels may be the answers of the network itself, in 32-bit floats in ONNX Runtime. Without examples to calibrate
    with, the scales of a quantised network are found while it runs.
    """

    def __init__(self, name, model, calibration, examples, labels=None):
        self.name, self.model, self.calibration, self.examples = name, model, calibration, examples
        self.input = onnx.load_from_string(model).graph.input[0].name
        self.labels = choices(self.in_onnxruntime(model)) if labels is None else labels

    def in_onnxruntime(self, model):
        onnxruntime.set_default_logger_severity(4)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        batches = [self.examples[at : at + BATCH] for at in range(0, len(self.examples), BATCH)]
        return np.concatenate([session.run(None, {self.input: batch})[0] for batch in batches])

    def in_server(self, binary, model, flags=(), requests=()):
        with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
            path = pathlib.Path(folder) / "model.onnx"
            path.write_bytes(model)
            with server.Server(binary, path, folder, flags, requests) as running:
                if running.port is None:
                    raise Refused(": ".join(filter(None, running.refusal())))
                with grpc.insecure_channel(f"127.0.0.1:{running.port}", options=UNLIMITED) as channel:
                    stub = messages.prediction_service_pb2_grpc.PredictionServiceStub(channel)
                    return np.concatenate(
                        [self._predict(stub, self.examples[at : at + BATCH]) for at in range(0, len(self.examples), BATCH)]
                    )

    def request(self, batch):
        request = messages.predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs[self.input].CopyFrom(messages.encode(batch))
        return request

    def _predict(self, stub, batch):
        answer = stub.Predict(self.request(batch), timeout=server.TIME, wait_for_ready=True)
        first = onnx.load_from_string(self.model).graph.output[0].name
        return messages.decode(answer.outputs[first])

    def quantised(self):
        """In bytes, as ONNX Runtime's quantiser writes it: with calibrated scales, or with scales found while it runs."""
        with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
            source, prepared, result = (f"{folder}/{name}.onnx" for name in ("source", "prepared", "result"))
            model = onnx.load_from_string(self.model)
            if model.opset_import[0].version < FIRST_BY_CHANNEL:
                model = onnx.version_converter.convert_version(model, FIRST_BY_CHANNEL)
            onnx.save(model, source)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            if self.calibration is None:
                quantization.quantize_dynamic(prepared, result)
            else:
                batches = iter([{self.input: self.calibration[at : at + 1]} for at in range(min(64, len(self.calibration)))])
                reader = type("Reader", (quantization.CalibrationDataReader,), {"get_next": lambda _: next(batches, None)})()
                form = quantization.QuantFormat.QDQ
                quantization.quantize_static(prepared, result, reader, quant_format=form, per_channel=True)
            return pathlib.Path(result).read_bytes()

    def right(self, scores):
        """The share of right answers, in points."""
        return float(np.mean(choices(scores) == self.labels) * 100)


def choices(scores):
    return scores.argmax(-1)


def digits():
    sys.path.insert(0, str(ROOT / "examples" / "digits"))
    import train

    images, labels, _, trained, test = train.load_split(train.SEED)
    model = (ROOT / "examples" / "digits" / "model.onnx").read_bytes()
    return Network("digits", model, images[trained], images[test], labels[test])


def from_wheel(wheels, package, name):
    (wheel,) = pathlib.Path(wheels).glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = [entry for entry in archive.namelist() if entry.endswith(name)]
        return archive.read(entry)


def file_types(wheels):
    """Magika says of what type a file is. Its labels here are its own answers, on the files of this Python."""
    model = from_wheel(wheels, "magika", "model.onnx")
    shape = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    files = [path for path in sorted(pathlib.Path(onnx.__file__).parent.parent.rglob("*")) if path.is_file()]
    random = np.random.default_rng(5)
    rows = []
    for path in random.permutation(np.array(files, dtype=object))[:200]:
        content = path.read_bytes()
        half = shape // 2
        row = np.full(shape, 256, np.int32)
        for place, part in ((slice(0, half), content[:half]), (slice(half, shape), content[-half:])):
            row[place][: len(part)] = list(part)
        rows.append(row)
    rows = np.stack(rows)
    # With calibrated scales nearly no answer of this network is left, in ONNX Runtime as well.
    return Network("file types (magika)", model, None, rows)


def lines(count, size, random):
    """Pictures of lines of text, and whether each is upside down."""
    height, width = size
    font = ImageFont.load_default(size=height * 0.6)
    pictures, turned = [], random.integers(0, 2, count)
    for turn in turned:
        picture = Image.new("RGB", (width, height), "white")
        text = "".join(random.choice(list("ABCDEFGHKLMNPRTabdeghk2345679"), 12))
        ImageDraw.Draw(picture).text((4, height * 0.1), text, "black", font=font)
        picture = picture.rotate(180) if turn else picture
        noise = random.normal(0, 0.05, (height, width, 3))
        pictures.append(((np.asarray(picture) / 255 - 0.5) / 0.5 + noise).transpose(2, 0, 1).astype(np.float32))
    return np.stack(pictures), turned


def text_direction(wheels):
    model = from_wheel(wheels, "rapidocr_onnxruntime", "cls_infer.onnx")
    pictures, turned = lines(464, (48, 192), np.random.default_rng(6))
    return Network("direction of text (rapidocr)", model, pictures[400:], pictures[:400], turned[:400])


def letters(wheels):
    """The letter at each place of a line. The labels are its own answers."""
    model = from_wheel(wheels, "rapidocr_onnxruntime", "rec_infer.onnx")
    pictures, _ = lines(96, (48, 320), np.random.default_rng(8))
    return Network("letters (rapidocr)", model, pictures[64:], pictures[:64])


def in_doubles(model, inputs):
    """The outputs of a float network, computed in 64-bit floats by ONNX's own implementation."""
    model = onnx.load_from_string(model)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for port in [*model.graph.input, *model.graph.output]:
        port.type.tensor_type.elem_type = TensorProto.DOUBLE
    return onnx.reference.ReferenceEvaluator(model).run(None, {model.graph.input[0].name: inputs.astype(np.float64)})[0]


def log_probabilities(scores):
    scores = scores.astype(np.float64)
    if np.allclose(scores.sum(-1), 1):
        return np.log(scores)
    scores = scores - scores.max(-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def judge(binary, network, problems):
    """Prints a line for each form of the network."""

    def compare(form, found, expected, against):
        print(f"{network.name:30} {form:26} {found:7.2f} {expected:7.2f} {found - expected:+6.2f}  {against}", flush=True)
        if abs(found - expected) > ALLOWED:
            problems.append(f"{network.name}, {form}: {found - expected:+.2f} points from {against}")

    plain = network.in_server(binary, network.model)
    floats = network.right(plain)
    compare("32-bit floats", floats, network.right(network.in_onnxruntime(network.model)), "ONNX Runtime")
    # The server compares answers when it loads the model: to inputs that it makes up, or to the model's own requests.
    own = [network.request(network.examples[at : at + 1]) for at in range(4)]
    for form, requests in (("16-bit floats", []), ("16-bit, own requests", own)):
        try:
            bfloat16 = network.right(network.in_server(binary, network.model, ["--precision=bf16"], requests))
            compare(form, bfloat16, floats, "32-bit floats")
        except Refused as refused:
            print(f"{network.name:30} {form:26} {refused}")
    quantised = network.quantised()
    theirs = network.right(network.in_onnxruntime(quantised))
    compare("bytes", network.right(network.in_server(binary, quantised)), theirs, "ONNX Runtime")
    print(f"{network.name:30} the quantiser itself        {theirs:7.2f} {floats:7.2f} {theirs - floats:+6.2f}")
    return plain


def main(binary, wheels):
    problems = []
    print(f"{'network':30} {'form':26} {'right':>7} {'of':>7} {'points':>6}  against")
    first = digits()
    scores = judge(binary, first, problems)
    farthest = np.abs(log_probabilities(scores) - log_probabilities(in_doubles(first.model, first.examples))).max()
    print(f"digits: log-probabilities are at most {farthest:.1e} from 64-bit floats")
    if not farthest < LOG_PROBABILITY:
        problems.append(f"digits: a log-probability is {farthest:.1e} from 64-bit floats")
    for make in (file_types, text_direction, letters):
        judge(binary, make(wheels), problems)
    for problem in problems:
        print(problem)
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
