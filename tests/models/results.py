"""Runs the engine on models that the other scripts made, and prints the table of docs/models.md.

    cargo build --release -p adytum-engine --example models
    python3 tests/models/results.py target/release/examples/models DIRECTORY...

Each DIRECTORY has models with inputs and ONNX Runtime's answers, as networks.py, tabular.py and packaged.py
write them, or with TensorFlow's answers, as compare_saved_models.py --record does. Models that are not right are listed with their reasons.
"""

import subprocess
import sys

FAMILIES = {
    "torchvision": "torchvision, classification", "segmentation": "torchvision, segmentation", "detection": "torchvision, detection",
    "transformers": "transformers", "torch": "PyTorch: layers of other kinds", "keras": "Keras and TensorFlow, imported from SavedModels",
    "sklearn": "scikit-learn", "xgboost": "XGBoost", "lightgbm": "LightGBM", "magika": "magika", "nudenet": "nudenet",
    "openwakeword": "openwakeword", "rapidocr": "rapidocr-onnxruntime", "silero": "silero-vad",
}
FORMS = {
    "dynamic": "quantised: dynamic", "qdq": "quantised: QDQ", "qoperator": "quantised: QOperator", "float16": "16-bit floats",
    "io": "16-bit floats", "external": "external data",
}


def family(name):
    form = FORMS.get(name.rsplit("_", 1)[-1])
    return form or next((title for key, title in FAMILIES.items() if name.startswith(key)), "others")


def main():
    program, *folders = sys.argv[1:]
    rows, wrong = {}, []
    for folder in folders:
        run = subprocess.run([program, folder], capture_output=True, text=True, check=False)
        for line in run.stdout.splitlines():
            word, name, detail, *_ = line.split("\t") + [""]
            title = family(name)
            count, right, largest = rows.get(title, (0, 0, 0.0))
            if word == "right":
                largest, right = max(largest, float(detail)), right + 1
            else:
                wrong.append((name, word, detail))
            rows[title] = (count + 1, right, largest)
    print("| models | right | largest difference |\n|---|---|---|")
    for title, (count, right, largest) in rows.items():
        print(f"| {title} | {right} of {count} | {largest:.0e} |")
    for name, word, detail in wrong:
        print(f"- `{name}` is {word}: {detail}")
    total = sum(count for count, _, _ in rows.values())
    print(f"{total - len(wrong)} of {total} right", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
