"""Triton with ONNX Runtime behind its Python interface."""

import os

import numpy
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from session import NAME, open_session

def tensors(values):
    sizes = lambda value: tuple(size if isinstance(size, int) else -1 for size in value.shape[1:])
    return [Tensor(name=value.name, dtype=numpy.float32, shape=sizes(value)) for value in values]


def main():
    session = open_session()
    names = [output.name for output in session.get_outputs()]

    @batch
    def infer(**feeds):
        return dict(zip(names, session.run(names, feeds)))

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(os.environ["PEER_HTTP_PORT"]),
        grpc_address="127.0.0.1",
        grpc_port=int(os.environ["PEER_GRPC_PORT"]),
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=NAME,
            infer_func=infer,
            inputs=tensors(session.get_inputs()),
            outputs=tensors(session.get_outputs()),
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


# Its other processes import this file.
if __name__ == "__main__":
    main()
