"""Takes the trained models out of packages of PyPI, with inputs, and what ONNX Runtime answers.

    python3 -m venv v
    v/bin/pip install numpy onnx onnxruntime
    v/bin/pip download --no-deps -d wheels magika silero-vad rapidocr-onnxruntime nudenet openwakeword==0.4.0
    v/bin/python tests/models/packaged.py wheels DIRECTORY

Each model is DIRECTORY/NAME.onnx, with NAME.inputs.npz and NAME.outputs.npz.
"""

import pathlib
import sys
import zipfile

import numpy as np
import onnxruntime

onnxruntime.set_default_logger_severity(4)
# What open dimensions are, by name or by the model's; all others are 1.
SIZES = {
    "magika": {}, "ch_PP-OCRv4_det": {2: 160, 3: 192}, "ch_PP-OCRv4_rec": {2: 48, 3: 160}, "ch_ppocr": {2: 48, 3: 192},
    "320n": {2: 320, 3: 320}, "melspectrogram": {1: 16000}, "embedding_model": {}, "silero": {},
}
KINDS = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(bool)": "bool",
    "tensor(float16)": "float16", "tensor(uint8)": "uint8",
}


def picture(random, shape):
    """Dark strokes on white, as letters are."""
    page = np.ones(shape)
    height, width = shape[2:]
    for y in range(min(20, height // 4), height - 16, 40):
        for x in range(10, width - 8, 12):
            page[..., y : y + 16, x : x + 2] = -1
            for row in (0, 7, 14):
                if random.random() < 0.6:
                    page[..., y + row : y + row + 2, x : x + 8] = -1
            if random.random() < 0.5:
                page[..., y : y + 16, x + 6 : x + 8] = -1
    return page


def inputs(name, session, scale=1.0):
    """Made up inputs. Where answers are far from 0 and 1, differences show: hence the scale."""
    random = np.random.default_rng(7)
    sizes = next((sizes for part, sizes in SIZES.items() if part in name), {})
    found = {}
    for given in session.get_inputs():
        kind = KINDS[given.type]
        shape = [size if isinstance(size, int) and size > 0 else sizes.get(axis, 1) for axis, size in enumerate(given.shape)]
        if given.name == "sr":
            found[given.name] = np.array(16000, kind).reshape(shape)
        elif "silero" in name and given.name == "input":
            length = shape[1] if isinstance(given.shape[1], int) else (512 if "openwakeword" in name else 576)
            found[given.name] = (random.standard_normal((shape[0], length)) * 0.1).astype(kind)
        elif kind in ("int64", "int32"):
            found[given.name] = random.integers(0, 256, shape).astype(kind)
        elif len(shape) == 4 and "wakeword" not in name:
            found[given.name] = (picture(random, shape) * scale).astype(kind)
        else:
            value = random.standard_normal(shape) * scale * (1000 if "melspectrogram" in name else 1)
            found[given.name] = (value if "wakeword" in name or "silero" in name else np.abs(value) % 1).astype(kind)
    return found


def main():
    wheels, folder = map(pathlib.Path, sys.argv[1:3])
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for wheel in sorted(wheels.glob("*.whl")):
        package = wheel.name.split("-")[0]
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                if not entry.endswith(".onnx"):
                    continue
                stem = pathlib.Path(entry).stem
                name = f"{package}_{'model' if stem == 'model' else stem}"
                path = folder / f"{name}.onnx"
                path.write_bytes(archive.read(entry))
                session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                try:
                    names = [output.name for output in session.get_outputs()]
                    # The first again if none is better.
                    for scale in (1.0, 3.0, 0.3, 10.0, 0.1, 30.0, 1.0):
                        given = inputs(name, session, scale)
                        outputs = session.run(names, given)
                        if all(np.abs(output).max() > 1e-2 for output in outputs if output.dtype.kind == "f"):
                            break
                    np.savez(path.with_suffix(".inputs.npz"), **given)
                    np.savez(path.with_suffix(".outputs.npz"), **dict(zip(names, outputs)))
                    print(f"{name}: written", flush=True)
                except Exception as error:  # noqa: BLE001 - the others are written
                    failed.append(name)
                    path.unlink()
                    print(f"{name}: {str(error)[:300]} {[(i.name, i.type, i.shape) for i in session.get_inputs()]}", file=sys.stderr)
    if failed:
        sys.exit(f"not written: {', '.join(failed)}")


if __name__ == "__main__":
    main()
