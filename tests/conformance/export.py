"""Writes ONNX's own node tests as directories, one a test: a model and its recorded data.

    python tests/conformance/export.py DIRECTORY

Needs the packages `onnx` and `numpy`. Each test becomes DIRECTORY/NAME/model.onnx and
DIRECTORY/NAME/test_data_set_N/{input,output}_M.pb, where each .pb file is a TensorProto, a
SequenceProto or an OptionalProto, as the model's own declaration says.
"""

import pathlib
import sys

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def message(value, declared):
    kind = declared.type.WhichOneof("value")
    if isinstance(value, onnx.TensorProto):
        return value
    if kind == "sequence_type":
        return numpy_helper.from_list(value, declared.name)
    if kind == "optional_type":
        inner = declared.type.optional_type.elem_type.WhichOneof("value")
        dtype = {
            "tensor_type": onnx.OptionalProto.TENSOR,
            "sequence_type": onnx.OptionalProto.SEQUENCE,
        }[inner]
        return numpy_helper.from_optional(value, declared.name, dtype)
    return numpy_helper.from_array(numpy.asarray(value), declared.name)


def main(directory):
    directory = pathlib.Path(directory)
    written, skipped = 0, 0
    for case in collect_testcases(None):
        if case.model is None:
            skipped += 1
            continue
        target = directory / case.name
        target.mkdir(parents=True, exist_ok=True)
        (target / "model.onnx").write_bytes(case.model.SerializeToString())
        for number, (inputs, outputs) in enumerate(case.data_sets):
            data = target / f"test_data_set_{number}"
            data.mkdir(exist_ok=True)
            for kind, values, declarations in (
                ("input", inputs, case.model.graph.input),
                ("output", outputs, case.model.graph.output),
            ):
                for index, (value, declared) in enumerate(zip(values, declarations)):
                    encoded = message(value, declared).SerializeToString()
                    (data / f"{kind}_{index}.pb").write_bytes(encoded)
        written += 1
    print(f"onnx {onnx.__version__}: {written} tests written, {skipped} without a model")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
