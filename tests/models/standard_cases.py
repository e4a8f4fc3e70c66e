"""Writes cases of the operators of ONNX's main domain, each at every version of it from opset 7.

    python3 -m venv v && v/bin/pip install numpy onnx onnxruntime
    v/bin/python tests/models/standard_cases.py crates/engine/tests/cases 1
    v/bin/python tests/models/standard_cases.py DIRECTORY

With a number, so many cases of each operator at each of its versions are kept, without
it all: some nine thousand.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import operator_cases
from operator_cases import MICROSOFT, case, floats, random

LAST = 24
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
REALS = ["float32", "float64", "float16"]
_versions = {}
for _schema in onnx.defs.get_all_schemas_with_history():
    if _schema.domain == "" and not _schema.deprecated:
        _versions.setdefault(_schema.name, set()).add(max(_schema.since_version, 7))


def versions(operator, first=7, last=LAST):
    """The opsets at which an operator changed, 7 if it is that old, and the last."""
    found = sorted(v for v in _versions[operator] if first <= v <= last)
    return sorted({*found, *([last] if found and last == LAST else [])})


def integers(*shape, low=-5, high=6, dtype="int64"):
    low = max(low, 0) if dtype.startswith("u") else low
    return random.integers(low, high, size=shape).astype(dtype)


def any_of(dtype, *shape):
    if dtype == "bool":
        return random.random(size=shape) < 0.5
    if dtype == "object":
        return random.choice(np.array(["a", "bc", "", "Größe"], dtype=object), size=shape)
    return floats(*shape, dtype=dtype) if dtype.startswith("float") else integers(*shape, dtype=dtype)


def sweep(family, operator, inputs, attributes=None, first=7, last=LAST, outputs=1, **settings):
    for version in versions(operator, first, last):
        half = any(i is not None and not isinstance(i, list) and np.asarray(i).dtype == np.float16 for i in inputs)
        given = {"tolerance": 2e-3, "absolute": 2e-3} if half else {"tolerance": 1e-4, "absolute": 1e-5}
        case(family, operator, inputs, attributes, version=version, outputs=outputs, **{**given, **settings})


def i64(*values):
    return np.array(values, "int64")


def elementwise():
    f = "elementwise"
    shapes = [((2, 3), (2, 3)), ((2, 1, 3), (4, 1)), ((), (2,)), ((3, 1), (1,)), ((0, 2), (1, 2)), ((2, 3), ())]
    for dtype in REALS + INTEGERS:
        for operator in ("Add", "Sub", "Mul", "Div", "Mod", "Pow", "Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual", "PRelu"):
            a, b = shapes[random.integers(len(shapes))]
            if operator == "PRelu":
                b = (3,) if len(a) and a[-1] == 3 else ()
            x, y = any_of(dtype, *a), any_of(dtype, *b)
            attributes = {}
            if operator in ("Div", "Mod"):
                y = np.where(y == 0, np.asarray(3, y.dtype), y)
            if operator == "Mod":
                attributes = {"fmod": 1 if dtype in REALS else int(random.integers(2))}
            if operator == "Pow":
                x, y = np.abs(x), np.abs(y)
            sweep(f, operator, [x, y], attributes)
        for operator in ("Max", "Min", "Sum", "Mean"):
            sweep(f, operator, [any_of(dtype, 2, 3), any_of(dtype, 3), any_of(dtype, 2, 1)])
            sweep(f, operator, [any_of(dtype, 2, 3)])
        for operator in ("Abs", "Neg", "Sign", "Relu", "Shrink"):
            sweep(f, operator, [any_of(dtype, 2, 3)], {"bias": 1.0, "lambd": 2.0} if operator == "Shrink" else {})
        for low, high in ((-1, 2), (None, 2), (-1, None), (3, 1)):
            t = lambda v: None if v is None else np.array(max(v, 0) if dtype.startswith("u") else v, dtype)
            sweep(f, "Clip", [any_of(dtype, 2, 3), t(low), t(high)], first=11)
    for other in ("float32", "float64", "int32", "int64"):
        for base in ("float32", "float64", "int32", "int64"):
            sweep(f, "Pow", [np.abs(any_of(base, 2, 3)), np.abs(any_of(other, 3))], first=12)
    case(f, "Clip", [floats(2, 3)], {"min": -0.5, "max": 0.25}, version=7)
    case(f, "Clip", [floats(2, 3)], {"max": 0.25}, version=6 + 3)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5, 0.5], "float32")
    for operator in ("Relu", "Abs", "Neg", "Sign", "Sigmoid", "Tanh", "Softplus", "Floor", "Ceil", "Round", "IsNaN", "IsInf", "Softsign", "Exp", "Erf", "Elu", "LeakyRelu", "Selu"):
        sweep(f, operator, [special])
    sweep(f, "Max", [special, np.float32(0.25)])
    sweep(f, "Min", [np.float32(0.25), special])
    for positive in (0, 1):
        sweep(f, "IsInf", [special], {"detect_positive": positive, "detect_negative": 1 - positive})
    plain = ["Acosh", "Asinh", "Atan", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "HardSwish", "Log", "Mish", "Reciprocal", "Round",
             "Sigmoid", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "Gelu", "Elu", "Selu", "Celu", "HardSigmoid", "LeakyRelu", "ThresholdedRelu", "Swish"]
    for dtype in REALS:
        for operator in plain:
            x = floats(2, 5, dtype=dtype) * 3
            x = np.abs(x) + 1 if operator in ("Acosh", "Log", "Sqrt", "Reciprocal") else x
            sweep(f, operator, [x])
        for operator in ("Acos", "Asin", "Atanh"):
            sweep(f, operator, [np.tanh(floats(2, 5, dtype=dtype)) * np.asarray(0.9, dtype)])
        for operator in ("Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid"):
            extra = {"Selu": {"gamma": 1.25}, "HardSigmoid": {"beta": 0.3}}.get(operator, {})
            sweep(f, operator, [floats(2, 5, dtype=dtype)], {"alpha": 0.7, **extra})
        sweep(f, "Gelu", [floats(3, dtype=dtype)], {"approximate": "tanh"})
    for operator in ("And", "Or", "Xor"):
        sweep(f, operator, [any_of("bool", 2, 3), any_of("bool", 3)])
    sweep(f, "Not", [any_of("bool", 2, 3)])
    for dtype in INTEGERS:
        for operator in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            sweep(f, operator, [any_of(dtype, 2, 3), any_of(dtype, 3)])
        sweep(f, "BitwiseNot", [any_of(dtype, 2, 3)])
        for direction in ("LEFT", "RIGHT"):
            sweep(f, "BitShift", [integers(2, 3, high=120, dtype=dtype), integers(3, low=0, high=7, dtype=dtype)], {"direction": direction})
    for dtype in ("bool", "object", "float32", "int64", "uint8", "int32", "float64"):
        sweep(f, "Where", [any_of("bool", 2, 1), any_of(dtype, 1, 3), any_of(dtype, 2, 3)])
        sweep(f, "Equal", [any_of(dtype, 2, 3), any_of(dtype, 3)])


def casting():
    f = "casting"
    number = {"float32": 1, "float64": 11, "float16": 10, "bool": 9, "object": 8, "int8": 3, "int16": 5, "int32": 6, "int64": 7, "uint8": 2, "uint16": 4, "uint32": 12, "uint64": 13}
    for source in number:
        for to in number:
            x = any_of(source, 2, 3)
            if source.startswith("float"):
                x = x * 3
            if source == "object":
                x = np.array(["12", "3", "-4" if not to.startswith("u") else "7"], dtype=object)
            if to.startswith("u") and source.startswith(("float", "int")):
                x = np.abs(x)
            sweep(f, "Cast", [x], {"to": number[to]})
    sweep(f, "Cast", [np.array(["1.5", "-3", "NaN", "INF", "-inf", "1e3"], dtype=object)], {"to": 1}, first=9)
    sweep(f, "Cast", [np.array([0.5, 1e10, 123456789, 1e-5, np.nan, np.inf, -np.inf, 0.1, 100, 1e8], "float32")], {"to": 8}, first=9)
    sweep(f, "Cast", [np.array([-1.5, -0.5, 255.9, 300, -300], "float32")], {"to": 2})
    sweep(f, "Cast", [np.array([2.0**31, -(2.0**33), 2.0**62], "float64")], {"to": 7})
    sweep(f, "Cast", [np.array([2**40 + 5, -7, 300], "int64")], {"to": 3})
    sweep(f, "CastLike", [floats(3), np.zeros(1, "int32")])


def movement():
    f = "movement"
    for dtype in ("float32", "int64", "object", "bool", "uint8", "float64"):
        x = any_of(dtype, 2, 3, 4)
        for order in (None, [2, 0, 1], [0, 2, 1]):
            sweep(f, "Transpose", [x], {} if order is None else {"perm": order})
        sweep(f, "Reshape", [x, i64(0, -1)])
        sweep(f, "Reshape", [x, i64(4, 3, 2)])
        sweep(f, "Concat", [x, any_of(dtype, 2, 3, 1)], {"axis": 2})
        sweep(f, "Concat", [x, any_of(dtype, 1, 3, 4)], {"axis": -3}, first=11)
        sweep(f, "Expand", [any_of(dtype, 3, 1), i64(2, 1, 4)])
        sweep(f, "Expand", [any_of(dtype, 2, 3), i64(1)])
        sweep(f, "Tile", [any_of(dtype, 2, 3), i64(2, 3)])
        for axis in (0, 1, 2, 3):
            sweep(f, "Flatten", [x], {"axis": axis})
        sweep(f, "Identity", [x])
        for k in (-1, 0, 2):
            sweep(f, "Trilu", [any_of(dtype, 2, 3, 4), np.array(k)], {"upper": int(random.integers(2))})
        sweep(f, "Compress", [x, np.array([True, False, True])], {"axis": 1})
        sweep(f, "Compress", [x, np.array([True, False, True, True])])
        sweep(f, "NonZero", [x])
        sweep(f, "ReverseSequence", [any_of(dtype, 3, 2, 2), i64(2, 3)])
        sweep(f, "ReverseSequence", [any_of(dtype, 2, 3), i64(1, 3)], {"time_axis": 1, "batch_axis": 0})
        for mode in ("constant", "edge", "reflect", "wrap"):
            value = any_of(dtype) if mode == "constant" else None
            sweep(f, "Pad", [x, i64(0, 1, 2, 1, 0, 3), value], {"mode": mode}, first=11 if mode != "wrap" else 19)
            sweep(f, "Pad", [x, i64(0, -1, 2, 1, 0, -1), value], {"mode": mode}, first=11 if mode != "wrap" else 19)
            sweep(f, "Pad", [x, i64(1, 2), value, i64(-1)], {"mode": mode}, first=18 if mode != "wrap" else 19)
        if dtype != "object":  # ONNX Runtime 1.32 loses texts here.
            sweep(f, "Gather", [x, integers(2, 2, low=-3, high=3)], {"axis": 1}, first=11)
            sweep(f, "Gather", [x, integers(2, low=0, high=2, dtype="int32")])
        sweep(f, "GatherElements", [x, integers(2, 2, 4, low=-3, high=3)], {"axis": 1})
        sweep(f, "GatherND", [x, integers(2, 2, low=0, high=2)])
        sweep(f, "GatherND", [x, integers(2, 1, low=0, high=3)], {"batch_dims": 1}, first=12)
        sweep(f, "ScatterElements", [x, integers(2, 1, 4, low=0, high=3), any_of(dtype, 2, 1, 4)], {"axis": 1})
        sweep(f, "ScatterND", [x, i64([1, 2], [0, 0]), any_of(dtype, 2, 4)])
        sweep(f, "OneHot", [integers(2, 3, low=-4, high=5), np.array(4), any_of(dtype, 2)], {"axis": int(random.integers(-1, 3))})
        case(f, "Scatter", [x, integers(2, 1, 4, low=0, high=3), any_of(dtype, 2, 1, 4)], {"axis": 1}, version=9)
    for dtype in ("float32", "int32", "int64", "float64"):
        for reduction in ("add", "mul", "max", "min"):
            sweep(f, "ScatterElements", [any_of(dtype, 3, 3), integers(4, 3, low=0, high=3), any_of(dtype, 4, 3)], {"axis": 0, "reduction": reduction}, first=16)
            sweep(f, "ScatterND", [any_of(dtype, 3, 3), i64([1], [0], [1]), any_of(dtype, 3, 3)], {"reduction": reduction}, first=16)
    x = floats(4, 5, 6)
    for starts, ends, axes, steps in (([1, 0], [3, 5], None, None), ([-2], [100], [-1], None), ([4], [-100], [1], [-2]), ([1, 5], [4, 0], [0, 2], [2, -3]), ([3], [1], [0], None)):
        given = [i64(*v) if v is not None else None for v in (starts, ends, axes, steps)]
        sweep(f, "Slice", [x, *given], first=10)
        if steps is None:
            case(f, "Slice", [x], {"starts": starts, "ends": ends, **({"axes": axes} if axes else {})}, version=7)
            case(f, "Slice", [x], {"starts": starts, "ends": ends, **({"axes": axes} if axes else {})}, version=9)
    for version in (7, 11, 12):
        case(f, "Split", [x], {"axis": 2, "split": [1, 2, 3]}, version=version, outputs=3)
        case(f, "Split", [x], {"axis": 2}, version=version, outputs=3)
        case(f, "Squeeze", [floats(1, 2, 1)], {"axes": [0]}, version=version)
        case(f, "Squeeze", [floats(1, 2, 1)], {}, version=version)
        case(f, "Unsqueeze", [floats(2, 3)], {"axes": [0, 3]}, version=version)
    for mode in ("constant", "edge", "reflect"):
        case(f, "Pad", [x], {"pads": [0, 1, 2, 1, 0, 3], "mode": mode, "value": 1.5}, version=7)
        case(f, "Pad", [x], {"pads": [0, -1, 2, 1, 0, -2], "mode": mode}, version=10)
    for version in (13, 18):
        case(f, "Split", [x, i64(1, 0, 5)], {"axis": -1}, version=version, outputs=3)
        case(f, "Split", [x], {"axis": -1, **({"num_outputs": 4} if version == 18 else {})}, version=version, outputs=4 if version == 18 else 2)
    sweep(f, "Squeeze", [floats(1, 2, 1), i64(-1)], first=13)
    sweep(f, "Unsqueeze", [floats(2, 3), i64(-1, 0)], first=13)
    sweep(f, "Reshape", [np.zeros((0, 3), "float32"), i64(3, 0)], {"allowzero": 1}, first=14)
    for start, end in ((0, None), (1, 2), (-2, None), (5, 9), (0, -1)):
        sweep(f, "Shape", [x], {"start": start, **({} if end is None else {"end": end})}, first=15)
    sweep(f, "Shape", [x])
    sweep(f, "Size", [x])
    for block in (2, 3):
        for mode in ("DCR", "CRD"):
            sweep(f, "DepthToSpace", [floats(2, 2 * block * block, 2, 3)], {"blocksize": block, "mode": mode}, first=11)
        sweep(f, "SpaceToDepth", [floats(2, 3, 2 * block, block)], {"blocksize": block})
    sweep(f, "CenterCropPad", [floats(5, 4, 3), i64(2, 7)], {"axes": [0, 2]})
    sweep(f, "ConstantOfShape", [i64(2, 3)])
    sweep(f, "ConstantOfShape", [i64(2, 0)], {"value": onnx.helper.make_tensor("v", 7, [1], [3])})
    for dtype in ("int32", "int64", "float32", "float64", "int16"):
        sweep(f, "Range", [np.array(10, dtype), np.array(-3, dtype), np.array(-4, dtype)])
        sweep(f, "Range", [np.array(1, dtype), np.array(6, dtype), np.array(2, dtype)])
    for k in (-1, 0, 2):
        sweep(f, "EyeLike", [floats(3, 4)], {"k": k, "dtype": 7})


def reduction():
    f = "reduction"
    operators = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"]
    for operator in operators:
        since = 13 if operator == "ReduceSum" else 18
        for dtype in ("float32", "float64", "int32", "int64", "uint8", "int8", "float16"):
            x = any_of(dtype, 2, 3, 4)
            x = np.abs(x) + np.asarray(1, dtype) if operator == "ReduceLogSum" else x
            if operator == "ReduceProd" and not dtype.startswith("float"):  # no product beyond the type
                x = integers(2, 3, 4, low=1, high=2, dtype=dtype)
            for axes in (None, [1], [0, 2], [-1]):
                for keep in (0, 1):
                    for version in versions(operator):
                        if version < 11 and axes == [-1]:
                            continue
                        half = {"tolerance": 5e-3, "absolute": 1e-2} if dtype == "float16" else {"tolerance": 1e-4}
                        if version < since:
                            case(f, operator, [x], {"keepdims": keep, **({} if axes is None else {"axes": axes})}, version=version, **half)
                        else:
                            case(f, operator, [x, None if axes is None else i64(*axes)], {"keepdims": keep}, version=version, **half)
        sweep(f, operator, [floats(2, 3), i64()], {"noop_with_empty_axes": 1}, first=since)
        sweep(f, operator, [np.float32(3.0)])
    for operator in ("ReduceSum", "ReduceProd", "ReduceL1", "ReduceMax", "ReduceMin"):
        sweep(f, operator, [np.zeros((2, 0), "float32"), i64(1)], first=18)
    for operator in ("ReduceMax", "ReduceMin"):
        sweep(f, operator, [any_of("bool", 2, 3), i64(0)], first=20)
    x = integers(3, 4, high=2, low=-1)
    for dtype in ("float32", "int32", "int8", "uint8", "float64"):
        for operator in ("ArgMax", "ArgMin"):
            for axis in (0, 1):
                sweep(f, operator, [x.astype(dtype)], {"axis": axis, "keepdims": int(random.integers(2))})
            sweep(f, operator, [x.astype(dtype)], {"axis": -1, "select_last_index": 1}, first=12)
        if dtype in ("float32", "int32", "float64"):
            for exclusive in (0, 1):
                for reverse in (0, 1):
                    sweep(f, "CumSum", [any_of(dtype, 2, 3), np.array(-1 + reverse, "int32")], {"exclusive": exclusive, "reverse": reverse})
        for axis in (0, 1):
            x2 = integers(4, 5, low=-2, high=3).astype(dtype)
            for largest in (0, 1):
                sweep(f, "TopK", [x2, i64(3)], {"axis": axis, "largest": largest}, first=11, outputs=2)
            sweep(f, "Unique", [x2], {"axis": axis, "sorted": 1}, outputs=4)
            sweep(f, "Unique", [x2], {"sorted": axis}, outputs=4)
    case(f, "TopK", [floats(3, 5)], {"k": 2}, version=7, outputs=2)
    sweep(f, "TopK", [floats(3, 5), i64(2)], {"axis": 0}, first=10, outputs=2)
    sweep(f, "Unique", [any_of("object", 6)], {}, outputs=4)
    for operator in ("Softmax", "LogSoftmax", "Hardmax"):
        for dtype in ("float32", "float64", "float16"):
            sweep(f, operator, [floats(2, 3, 4, dtype=dtype)])
            for axis in (0, 1, 2):
                sweep(f, operator, [floats(2, 3, 4, dtype=dtype)], {"axis": axis})
        sweep(f, operator, [np.array([[1, 1, 0], [-np.inf, 2, 2]], "float32")])


def algebra():
    f = "algebra"
    for dtype in ("float32", "float64", "int32", "int64", "uint32", "uint64", "float16"):
        for a, b in (((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 1, 2, 3), (4, 3, 2)), ((1, 2, 4, 3), (3,)), ((3,), (2, 3, 1)), ((2, 0), (0, 3)), ((5, 9), (9, 70))):
            sweep(f, "MatMul", [any_of(dtype, *a), any_of(dtype, *b)])
        for ta in (0, 1):
            for tb in (0, 1):
                a, b = any_of(dtype, *((3, 2) if ta else (2, 3))), any_of(dtype, *((4, 3) if tb else (3, 4)))
                c = any_of(dtype, *[(2, 4), (4,), (2, 1), (1, 4)][random.integers(4)])
                sweep(f, "Gemm", [a, b, c], {"transA": ta, "transB": tb})
        sweep(f, "Gemm", [any_of(dtype, 2, 3), any_of(dtype, 3, 2)], first=11)
    sweep(f, "Gemm", [floats(2, 3), floats(3, 2), floats(2)], {"alpha": 0.5, "beta": -2.0})
    for equation, *shapes in (("ij,jk->ik", (2, 3), (3, 4)), ("bij,bjk", (2, 2, 3), (2, 3, 2)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("...ij->...ji", (2, 2, 3)), ("i,j->ij", (2,), (3,)),
                              ("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij->", (2, 3)), ("abc,cd,de->abe", (2, 2, 3), (3, 2), (2, 4)), ("...k,k->...", (2, 3, 4), (4,)), ("ij,ij->j", (2, 3), (2, 3))):
        for dtype in ("float32", "float64", "int64", "int32"):
            sweep(f, "Einsum", [any_of(dtype, *s) for s in shapes], {"equation": equation})
    for dtype in ("float32", "float64"):
        sweep(f, "Det", [floats(2, 3, 3, dtype=dtype)])


def normalization():
    f = "normalization"
    for dtype in ("float32", "float64", "float16"):
        x = floats(2, 4, 3, 2, dtype=dtype)
        c = [floats(4, dtype=dtype) for _ in range(3)] + [np.abs(floats(4, dtype=dtype)) + np.asarray(0.5, dtype)]
        sweep(f, "BatchNormalization", [x, *c], {"epsilon": 1e-3})
        sweep(f, "BatchNormalization", [x[..., 0, 0], *c])
        sweep(f, "InstanceNormalization", [x, c[0], c[1]])
        sweep(f, "LRN", [x], {"size": 3, "alpha": 0.2, "beta": 0.6, "bias": 1.5})
        sweep(f, "LRN", [x], {"size": 2})
        sweep(f, "MeanVarianceNormalization", [x])
        sweep(f, "MeanVarianceNormalization", [x], {"axes": [1, 2]})
        for p in (1, 2):
            sweep(f, "LpNormalization", [x], {"axis": int(random.integers(-1, 4)), "p": p})
        for axis in (-1, 1, 2):
            shape = x.shape[axis:]
            sweep(f, "LayerNormalization", [x, floats(*shape, dtype=dtype), floats(*shape, dtype=dtype)], {"axis": axis}, outputs=3 if dtype == "float32" else 1)
            sweep(f, "RMSNormalization", [x, floats(*shape, dtype=dtype)], {"axis": axis})
        sweep(f, "GroupNormalization", [x, floats(4, dtype=dtype), floats(4, dtype=dtype)], {"num_groups": 2}, first=21)
    case(f, "GroupNormalization", [floats(2, 4, 3), floats(2), floats(2)], {"num_groups": 2}, version=18, tolerance=1e-4)


def windows():
    f = "windows"
    for dtype in ("float32", "float64"):
        for rank in (1, 2, 3):
            image = [7, 6, 5][:rank]
            for _ in range(6):
                group = int(random.choice([1, 2]))
                kernel = [int(v) for v in random.integers(1, 4, rank)]
                a = {"group": group, "strides": [int(v) for v in random.integers(1, 3, rank)], "dilations": [int(v) for v in random.integers(1, 3, rank)], "kernel_shape": kernel}
                auto = str(random.choice(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
                if auto == "NOTSET":
                    a["pads"] = [int(v) for v in random.integers(0, 3, 2 * rank)]
                else:
                    a["auto_pad"] = auto
                    if auto != "VALID":
                        a["dilations"] = [1] * rank
                bias = floats(4, dtype=dtype) if random.random() < 0.5 else None
                sweep(f, "Conv", [floats(2, 4, *image, dtype=dtype), floats(4, 4 // group, *kernel, dtype=dtype), bias], a)
                t = {k: v for k, v in a.items() if k != "auto_pad"}
                if auto == "NOTSET":
                    t["pads"] = [0 if k == 1 else v for k, v in zip(kernel * 2, a["pads"])]
                    t["output_padding"] = [int(s > 1 and random.random() < 0.5) for s in a["strides"]]
                sweep(f, "ConvTranspose", [floats(2, 4, *image, dtype=dtype), floats(4, 4 // group, *kernel, dtype=dtype), floats(4 // group * group, dtype=dtype) if bias is not None else None], t)
                p = {k: a[k] for k in ("strides", "kernel_shape", "auto_pad") if k in a}
                if auto == "NOTSET":
                    p["pads"] = [min(v, k - 1) for k, v in zip(kernel * 2, a["pads"])]
                x = floats(2, 3, *image, dtype=dtype)
                sweep(f, "MaxPool", [x], p)
                sweep(f, "AveragePool", [x], {**p, "count_include_pad": int(random.integers(2))})
                sweep(f, "LpPool", [x], {**p, "p": int(random.integers(1, 4))})
                ceil = int(random.integers(2))
                sweep(f, "MaxPool", [x], {**p, "ceil_mode": ceil, "storage_order": int(random.integers(2))}, first=10, outputs=2)
                sweep(f, "MaxPool", [x], {**p, "ceil_mode": ceil, "dilations": a["dilations"] if all((k - 1) * d < s for k, d, s in zip(kernel, a["dilations"], image)) else [1] * rank}, first=10)
                sweep(f, "AveragePool", [x], {**p, "ceil_mode": ceil, "count_include_pad": int(random.integers(2))}, first=10)
                sweep(f, "AveragePool", [x], {**p, "ceil_mode": ceil, "dilations": [1] * rank, "count_include_pad": int(random.integers(2))}, first=19)
            for operator in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
                sweep(f, operator, [floats(2, 3, *image, dtype=dtype)])
    sweep(f, "MaxPool", [integers(1, 2, 5, 5, dtype="uint8")], {"kernel_shape": [2, 2], "strides": [2, 2]}, first=12)
    sweep(f, "MaxPool", [integers(1, 2, 5, 5, dtype="int8")], {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]}, first=12)
    for a in ({"output_shape": [10, 8], "strides": [3, 3]}, {"output_shape": [8, 7], "strides": [3, 3], "auto_pad": "SAME_UPPER"}, {"strides": [3, 3], "auto_pad": "SAME_LOWER"}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, {"auto_pad": "VALID", "strides": [2, 1]}):
        sweep(f, "ConvTranspose", [floats(1, 2, 3, 3), floats(2, 2, 3, 3)], a)
    sweep(f, "Conv", [floats(1, 2, 5, 5), floats(2, 2, 3, 3)], {})
    sweep(f, "Conv", [floats(1, 8, 5, 5), floats(8, 1, 3, 3)], {"group": 8, "pads": [1, 1, 1, 1]})
    sweep(f, "Conv", [floats(0, 2, 5, 5), floats(2, 2, 3, 3)], {})
    sweep(f, "Col2Im", [floats(1, 12, 4), i64(3, 3), i64(2, 2)])
    sweep(f, "Col2Im", [floats(2, 4, 9), i64(5, 5), i64(2, 2)], {"strides": [2, 2], "pads": [0, 1, 1, 0], "dilations": [1, 1]})
    sweep(f, "MaxUnpool", [floats(1, 1, 2, 2), i64(5, 7, 13, 15).reshape(1, 1, 2, 2)], {"kernel_shape": [2, 2], "strides": [2, 2]})
    sweep(f, "MaxRoiPool", [floats(2, 3, 6, 6), np.array([[0, 0, 0, 3, 4], [1, 1, 2, 5, 5]], "float32")], {"pooled_shape": [2, 3], "spatial_scale": 0.9})


def vision():
    f = "vision"
    x = floats(1, 2, 4, 5)
    for mode in ("nearest", "linear"):
        for scales in ([1, 1, 2, 2], [1, 1, 2, 3], [1, 1, 1.6, 2.4]):
            case(f, "Upsample", [x], {"mode": mode, "scales": scales}, version=7)
            case(f, "Upsample", [x, np.array(scales, "float32")], {"mode": mode}, version=9)
        for scales in ([1, 1, 2, 2], [1, 1, 0.6, 0.7], [1, 1, 1.7, 0.5]):
            case(f, "Resize", [x, np.array(scales, "float32")], {"mode": mode}, version=10, tolerance=1e-4, absolute=1e-5)
    for version in (11, 13, 18, 19):
        for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric", "tf_crop_and_resize"):
            if coordinates == "half_pixel_symmetric" and version < 19:
                continue
            for mode in ("nearest", "linear", "cubic"):
                a = {"mode": mode, "coordinate_transformation_mode": coordinates}
                roi = np.zeros(0, "float32")
                if coordinates == "tf_crop_and_resize":
                    if mode == "cubic":
                        continue
                    roi = np.array([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.1], "float32")
                    a["extrapolation_value"] = 7.0
                empty = np.zeros(0, "float32") if version < 13 else None
                for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else (None,):
                    b = {**a, "nearest_mode": rounding} if rounding else a
                    for sizes in ([1, 2, 8, 10], [1, 2, 3, 4], [1, 2, 7, 4]):
                        case(f, "Resize", [x, roi, np.zeros(0, "float32"), i64(*sizes)], b, version=version, tolerance=1e-4, absolute=1e-5)
                    for scales in ([1, 1, 2, 2], [1, 1, 0.5, 3]):
                        if coordinates != "tf_crop_and_resize":
                            case(f, "Resize", [x, roi, np.array(scales, "float32")], b, version=version, tolerance=1e-4, absolute=1e-5)
                if mode == "cubic":
                    case(f, "Resize", [x, roi, empty, i64(1, 2, 3, 8)], {**a, "exclude_outside": 1, "cubic_coeff_a": -0.5}, version=version, tolerance=1e-4, absolute=1e-5)
        if version >= 18:
            for policy in ("not_larger", "not_smaller"):
                case(f, "Resize", [x, None, None, i64(7, 8)], {"axes": [2, 3], "keep_aspect_ratio_policy": policy, "mode": "linear"}, version=version, tolerance=1e-4, absolute=1e-5)
            for mode in ("linear", "cubic"):
                for sizes in ([2, 2], [3, 9], [8, 10]):
                    case(f, "Resize", [floats(1, 2, 6, 7), None, None, i64(*sizes)], {"axes": [2, 3], "antialias": 1, "mode": mode, "exclude_outside": 1}, version=version, tolerance=1e-4, absolute=1e-5)
    for dtype in ("uint8", "int32", "int8"):
        case(f, "Resize", [any_of(dtype, 1, 1, 4, 4), None, None, i64(1, 1, 2, 3)], {"mode": "nearest"}, version=13)
    for dtype in ("float32", "float64"):
        for mode in ("bilinear", "nearest", "bicubic"):
            for beyond in ("zeros", "border", "reflection"):
                for align in (0, 1):
                    a = {"mode": mode, "padding_mode": beyond, "align_corners": align}
                    case(f, "GridSample", [floats(1, 2, 3, 4, dtype=dtype), floats(1, 2, 3, 2, dtype=dtype)], a, version=16, tolerance=1e-4, absolute=1e-5)
                    a["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
                    case(f, "GridSample", [floats(2, 2, 3, 4, dtype=dtype), floats(2, 2, 3, 2, dtype=dtype)], a, version=20, tolerance=1e-4, absolute=1e-5)
                    if mode != "bicubic":
                        case(f, "GridSample", [floats(1, 2, 3, 4, 2, dtype=dtype), floats(1, 2, 2, 2, 3, dtype=dtype)], a, version=20, tolerance=1e-4, absolute=1e-5)
        for align in (0, 1):
            sweep(f, "AffineGrid", [floats(2, 2, 3, dtype=dtype), i64(2, 3, 4, 5)], {"align_corners": align})
            sweep(f, "AffineGrid", [floats(1, 3, 4, dtype=dtype), i64(1, 3, 2, 4, 5)], {"align_corners": align})
        rois = np.array([[0, 0, 3, 4], [1, 0.5, 4.5, 4], [2, 2, 2.2, 2.1]], dtype)
        for mode in ("avg", "max"):
            for samples in (0, 2):
                a = {"output_height": 2, "output_width": 3, "sampling_ratio": samples, "spatial_scale": 0.8, "mode": mode}
                sweep(f, "RoiAlign", [floats(2, 2, 5, 6, dtype=dtype), rois, i64(0, 1, 0)], a)
                sweep(f, "RoiAlign", [floats(2, 2, 5, 6, dtype=dtype), rois, i64(0, 1, 0)], {**a, "coordinate_transformation_mode": "output_half_pixel"}, first=16)
        sweep(f, "DeformConv", [floats(1, 4, 5, 5, dtype=dtype), floats(2, 2, 3, 3, dtype=dtype), floats(1, 36, 3, 3, dtype=dtype), floats(2, dtype=dtype), floats(1, 18, 3, 3, dtype=dtype)], {"group": 2, "offset_group": 2})
    for centred in (0, 1):
        for n in range(4):
            boxes = np.abs(floats(2, 12, 4)) + np.array([0, 0, 1, 1], "float32")
            sweep(f, "NonMaxSuppression", [boxes, random.random((2, 3, 12)).astype("float32"), i64(4), np.array([0.3], "float32"), np.array([0.4], "float32") if n % 2 else None], {"center_point_box": centred})


def recurrent():
    f = "recurrent"
    for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for direction in ("forward", "reverse", "bidirectional"):
            d = 2 if direction == "bidirectional" else 1
            for full in (False, True):
                t, b, w, h = 5, 3, 4, 3
                inputs = [floats(t, b, w), floats(d, gates * h, w), floats(d, gates * h, h)]
                if full:
                    inputs += [floats(d, 2 * gates * h), np.array([5, 0 + 2, 3], "int32"), floats(d, b, h)]
                    if operator == "LSTM":
                        inputs += [floats(d, b, h), floats(d, 3 * h)]
                a = {"hidden_size": h, "direction": direction}
                outputs = 3 if operator == "LSTM" else 2
                sweep(f, operator, inputs, a, outputs=outputs)
                if operator == "GRU":
                    sweep(f, operator, inputs, {**a, "linear_before_reset": 1}, outputs=outputs)
                names = {"RNN": ["Relu"], "GRU": ["HardSigmoid", "Softsign"], "LSTM": ["HardSigmoid", "ScaledTanh", "LeakyRelu"]}[operator]
                extra = {"activations": names * d}
                if operator == "LSTM":
                    extra.update(activation_alpha=[0.3, 1.5, 0.2] * d, activation_beta=[0.4, 0.6] * d)
                elif operator == "GRU":
                    extra.update(activation_alpha=[0.3] * d, activation_beta=[0.4] * d)
                sweep(f, operator, inputs, {**a, **extra}, outputs=outputs)
                sweep(f, operator, inputs, {**a, "clip": 0.5}, outputs=outputs)


def signal():
    f = "signal"
    for dtype in ("float32", "float64"):
        for length in (8, 7, 12):
            case(f, "DFT", [floats(2, length, 1, dtype=dtype)], {}, version=17, tolerance=1e-4, absolute=1e-4)
            case(f, "DFT", [floats(2, length, 2, dtype=dtype)], {"inverse": 1}, version=17, tolerance=1e-4, absolute=1e-4)
            case(f, "DFT", [floats(2, length, 1, dtype=dtype)], {"onesided": 1}, version=17, tolerance=1e-4, absolute=1e-4)
            case(f, "DFT", [floats(2, length, 3, 1, dtype=dtype), None, np.array(1)], {"onesided": 1}, version=20, tolerance=1e-4, absolute=1e-4)
            case(f, "DFT", [floats(2, length, 2, dtype=dtype), np.array(6)], {}, version=20, tolerance=1e-4, absolute=1e-4)
        for onesided in (0, 1):
            case(f, "STFT", [floats(2, 20, 1, dtype=dtype), np.array(3), np.abs(floats(8, dtype=dtype)), np.array(8)], {"onesided": onesided}, version=17, tolerance=1e-4, absolute=1e-4)
            case(f, "STFT", [floats(1, 15, 1, dtype=dtype), np.array(4), None, np.array(6)], {"onesided": onesided}, version=17, tolerance=1e-4, absolute=1e-4)
    for operator in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        for periodic in (0, 1):
            case(f, operator, [np.array(9)], {"periodic": periodic}, version=17, tolerance=1e-4, absolute=1e-6)
            case(f, operator, [np.array(6, "int32")], {"periodic": periodic, "output_datatype": 11}, version=17, tolerance=1e-4, absolute=1e-6)
    case(f, "MelWeightMatrix", [np.array(8), np.array(64), np.array(8000), np.float32(20), np.float32(3800)], {}, version=17, tolerance=1e-4)


def thin(kept):
    """Keeps so many cases of each operator at each version, spread over all that there are, and no large ones."""
    for family, made in operator_cases.cases.items():
        groups = {}
        for one in made:
            if sum(len(t["data"]) for t in one["inputs"] + one["outputs"] if t) <= 500:
                groups.setdefault((one["operator"], one["opset"]), []).append(one)
        operator_cases.cases[family] = [
            group[(number * len(group) + shift % len(group)) // min(kept, len(group))]
            for shift, group in enumerate(groups.values())
            for number in range(min(kept, len(group)))
        ]


def main():
    folder = pathlib.Path(sys.argv[1])
    kept = int(sys.argv[2]) if len(sys.argv) > 2 else None
    for family in (elementwise, casting, movement, reduction, algebra, normalization, windows, vision, recurrent, signal):
        family()
    if kept:
        thin(kept)
    for family, made in operator_cases.cases.items():
        lines = ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in made)
        (folder / f"{family}.json").write_text(f"[\n{lines}\n]\n")
        print(f"{family}: {len(made)}")
    print(f"refused by ONNX Runtime: {operator_cases.refused}")


main()
