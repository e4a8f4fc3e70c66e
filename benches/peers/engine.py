"""Compares the static engine with ONNX Runtime, and with OpenVINO where it is installed, on one thread.

    cargo build --release --package adytum-engine --examples
    python benches/peers/engine.py target/release/examples [PART OF A NAME]

Rounds are interleaved. Of each engine the median of the processor times of a run is printed, in
milliseconds, and its ratio to the better peer. Answers are compared before anything is measured.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime

from networks import NETWORKS

ROUNDS, RUNS = 5, 40


def onnx_runtime(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def openvino_or_none(path):
    try:
        import openvino
    except ImportError:
        return None
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda x: model(x)[0]


def processor_time(run, x):
    run(x)
    start = time.process_time()
    for _ in range(RUNS):
        run(x)
    return (time.process_time() - start) / RUNS * 1e3


def static_engine(programs, path):
    # What the server tells the allocator.
    settings = {"MALLOC_TRIM_THRESHOLD_": "8388608", "MALLOC_MMAP_THRESHOLD_": "33554432"}
    command = [f"{programs}/measure", path, str(RUNS)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **settings})
    return float(re.search(r"processor (\S+) ms", found.stdout)[1])


def main():
    programs, part = sys.argv[1], "".join(sys.argv[2:3])
    with tempfile.TemporaryDirectory() as directory:
        for name, write in NETWORKS.items():
            if part not in name:
                continue
            path = f"{directory}/{name}.onnx"
            write(path)
            size = 256 if name == "unet" else 224
            x = numpy.random.default_rng(1).standard_normal((1, 3, size, size)).astype(numpy.float32)
            peers = {"onnxruntime": onnx_runtime(path), "openvino": openvino_or_none(path)}
            peers = {peer: run for peer, run in peers.items() if run}
            numpy.savez(f"{directory}/{name}.inputs.npz", x=x)
            numpy.savez(f"{directory}/{name}.outputs.npz", y=peers["onnxruntime"](x))
            subprocess.run([f"{programs}/models", directory, name], check=True, stdout=subprocess.DEVNULL)
            times = {engine: [] for engine in [*peers, "static"]}
            for _ in range(ROUNDS):
                for peer, run in peers.items():
                    times[peer].append(processor_time(run, x))
                times["static"].append(static_engine(programs, path))
            times = {engine: statistics.median(found) for engine, found in times.items()}
            best = min(times[peer] for peer in peers)
            row = "  ".join(f"{engine} {found:.1f}" for engine, found in times.items())
            print(f"{name:<16} {row}  ratio {times['static'] / best:.2f}", flush=True)
            for file in os.listdir(directory):
                os.remove(f"{directory}/{file}")


if __name__ == "__main__":
    main()
