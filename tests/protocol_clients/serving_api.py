"""TensorFlow Serving's messages and stubs.

They come from the packages tensorflow and tensorflow-serving-api where they are installed. Those
are large, so without them the project's own .proto files, which are the same on the wire, are
compiled into a temporary directory.
"""

import atexit
import importlib
import pathlib
import shutil
import sys
import tempfile

PROTO = pathlib.Path(__file__).resolve().parents[2] / "crates" / "api" / "proto"


def _compile():
    import grpc_tools
    from grpc_tools import protoc

    out = tempfile.mkdtemp(prefix="protocol-clients-")
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


def _module(name):
    return importlib.import_module(f"tensorflow_serving.apis.{name}")


classification_pb2 = _module("classification_pb2")
get_model_metadata_pb2 = _module("get_model_metadata_pb2")
get_model_status_pb2 = _module("get_model_status_pb2")
inference_pb2 = _module("inference_pb2")
model_service_pb2_grpc = _module("model_service_pb2_grpc")
predict_pb2 = _module("predict_pb2")
prediction_service_pb2_grpc = _module("prediction_service_pb2_grpc")
regression_pb2 = _module("regression_pb2")
types_pb2 = importlib.import_module("tensorflow.core.framework.types_pb2")
