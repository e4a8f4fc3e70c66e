"""Runs one network in one engine, for `cargo xtask bench -- engine`.

    python engine_runner.py onnxruntime|openvino NETWORK.onnx INPUTS.npz THREADS PRECISION

Each answer is a line of JSON. The first comes when the network is loaded. Then a line of the standard
input is a number of runs, or the name of a file for the outputs.
"""

import json
import sys
import time

import numpy


def onnx_runtime(path, threads, precision):
    import onnxruntime

    if precision != "f32":
        raise SystemExit("this engine computes in the network's own types")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs)))


def openvino(path, threads, precision):
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
    model = openvino.Core().compile_model(path, "CPU", settings)
    request = model.create_infer_request()
    # An output has the name that the network gives it, and may have others.
    names = [output.get_names() for output in model.outputs]

    def run(inputs):
        found = request.infer(inputs, share_inputs=True, share_outputs=True)
        return {name: found[index] for index, all_names in enumerate(names) for name in all_names}

    return run


def answer(**values):
    print(json.dumps(values), flush=True)


def main():
    engine, path, inputs, threads, precision = sys.argv[1:]
    start = time.perf_counter()
    run = {"onnxruntime": onnx_runtime, "openvino": openvino}[engine](path, int(threads), precision)
    answer(load_ms=(time.perf_counter() - start) * 1e3)
    inputs = dict(numpy.load(inputs))
    for line in sys.stdin:
        line = line.strip()
        if not line.isdigit():
            numpy.savez(line, **run(inputs))
            answer(written=True)
            continue
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            run(inputs)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        answer(wall_ms=wall / int(line) * 1e3, processor_ms=processor / int(line) * 1e3)


if __name__ == "__main__":
    main()
