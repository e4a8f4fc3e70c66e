"""The model that each peer serves, by ONNX Runtime on one thread a request."""

import os

import onnxruntime

NAME = "m"


def open_session():
    """The session of the model that the benchmark names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["PEER_THREADS"])
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
