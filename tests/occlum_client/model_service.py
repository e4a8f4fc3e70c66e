"""TensorFlow Serving's messages and stubs, and the request both clients send.

The messages come from the packages tensorflow and tensorflow-serving-api where
they are installed. They are large, so without them the project's own .proto
files, which are the same on the wire, are compiled into a temporary directory.
"""

import atexit
import importlib
import pathlib
import shutil
import sys
import tempfile

import numpy as np
from PIL import Image

PROTO = pathlib.Path(__file__).resolve().parents[2] / "crates" / "api" / "proto"


def _compile():
    import grpc_tools
    from grpc_tools import protoc

    out = tempfile.mkdtemp(prefix="occlum-client-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = [
        str(path.relative_to(PROTO))
        for folder in ("tensorflow", "tensorflow_serving")
        for path in sorted((PROTO / folder).rglob("*.proto"))
    ]
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + files) != 0:
        raise SystemExit("the .proto files can't be compiled")
    sys.path.insert(0, out)


try:
    import tensorflow_serving.apis.predict_pb2
except ImportError:
    _compile()

predict_pb2 = importlib.import_module("tensorflow_serving.apis.predict_pb2")
tensor_pb2 = importlib.import_module("tensorflow.core.framework.tensor_pb2")
types_pb2 = importlib.import_module("tensorflow.core.framework.types_pb2")
prediction_service_pb2_grpc = importlib.import_module("tensorflow_serving.apis.prediction_service_pb2_grpc")


def resnet_request(path):
    """The image as the reference prepares it: RGB, bicubic, 224x224, 0..1."""
    image = Image.open(path).convert("RGB").resize((224, 224), Image.BICUBIC)
    pixels = np.asarray(image).astype("<f4") / np.float32(255)

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "resnet"
    request.model_spec.signature_name = "serving_default"
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=pixels.tobytes())
    for size in (1, 224, 224, 3):
        tensor.tensor_shape.dim.add(size=size)
    request.inputs["input_1"].CopyFrom(tensor)
    return request
