"""TensorFlow Serving's messages and stubs, and tensors of NumPy in them.

The messages are compiled from the project's own .proto files into a temporary directory.
"""

import atexit
import importlib
import pathlib
import shutil
import sys
import tempfile

import grpc_tools
import ml_dtypes
import numpy as np
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "crates" / "api" / "proto"


def _compile():
    out = tempfile.mkdtemp(prefix="conformance-")
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


_compile()
predict_pb2 = importlib.import_module("tensorflow_serving.apis.predict_pb2")
tensor_pb2 = importlib.import_module("tensorflow.core.framework.tensor_pb2")
types_pb2 = importlib.import_module("tensorflow.core.framework.types_pb2")
prediction_service_pb2_grpc = importlib.import_module("tensorflow_serving.apis.prediction_service_pb2_grpc")

# Of each type: its name in the API, NumPy's type, the field of its values.
_TYPES = [
    ("DT_FLOAT", np.float32, "float_val"),
    ("DT_DOUBLE", np.float64, "double_val"),
    ("DT_HALF", np.float16, "half_val"),
    ("DT_BFLOAT16", ml_dtypes.bfloat16, "half_val"),
    ("DT_INT8", np.int8, "int_val"),
    ("DT_INT16", np.int16, "int_val"),
    ("DT_INT32", np.int32, "int_val"),
    ("DT_INT64", np.int64, "int64_val"),
    ("DT_UINT8", np.uint8, "int_val"),
    ("DT_UINT16", np.uint16, "int_val"),
    ("DT_UINT32", np.uint32, "uint32_val"),
    ("DT_UINT64", np.uint64, "uint64_val"),
    ("DT_BOOL", np.bool_, "bool_val"),
]
_BY_DTYPE = {np.dtype(dtype): getattr(types_pb2, name) for name, dtype, _ in _TYPES}
_BY_NUMBER = {getattr(types_pb2, name): (np.dtype(dtype), field) for name, dtype, field in _TYPES}


def is_text(array):
    return array.dtype.kind in "OSU"


def is_carried(array):
    """Whether the API has the type of an array."""
    return is_text(array) or array.dtype in _BY_DTYPE


def encode(array):
    """An array as a message."""
    message = tensor_pb2.TensorProto()
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if is_text(array):
        message.dtype = types_pb2.DT_STRING
        texts = [text.encode() if isinstance(text, str) else bytes(text) for text in array.ravel()]
        message.string_val.extend(texts)
    else:
        message.dtype = _BY_DTYPE[array.dtype]
        message.tensor_content = np.ascontiguousarray(array).tobytes()
    return message


def decode(message):
    """A message as an array; texts as bytes."""
    shape = [dimension.size for dimension in message.tensor_shape.dim]
    if message.dtype == types_pb2.DT_STRING:
        return np.array(list(message.string_val), dtype=object).reshape(shape)
    dtype, field = _BY_NUMBER[message.dtype]
    if message.tensor_content:
        return np.frombuffer(message.tensor_content, dtype=dtype).reshape(shape)
    values = list(getattr(message, field))
    if field == "half_val":
        return np.array(values, dtype=np.uint16).view(dtype).reshape(shape)
    return np.array(values, dtype=dtype).reshape(shape)
