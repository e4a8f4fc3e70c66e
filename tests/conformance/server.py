"""The real server with one model, for tests."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import records

# Seconds that a test may take, on a machine that does much else.
TIME = 60


class Server:
    """A server of one model, that is started, and killed at the end. It may have warm-up requests."""

    def __init__(self, binary, model, folder, flags=(), requests=()):
        base = pathlib.Path(folder) / "models"
        (base / "1").mkdir(parents=True)
        os.link(model, base / "1" / "model.onnx") if same_device(model, base) else shutil.copy(
            model, base / "1" / "model.onnx"
        )
        if requests:
            file = base / "1" / records.FILE
            file.parent.mkdir()
            file.write_bytes(records.of_requests(requests))
        self.log = open(pathlib.Path(folder) / "log", "w+b")
        self.process = subprocess.Popen(
            [
                binary,
                "--port=0",
                "--model_name=m",
                f"--model_base_path={base}",
                "--allow_plain_models",
                "--log-format=json",
                "--tensorflow_intra_op_parallelism=1",
                "--grpc_max_threads=1",
                *flags,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "RUST_LOG": "error"},
        )
        line = self.process.stdout.readline().decode()
        found = re.search(r":(\d+) \.\.\.", line)
        self.port = int(found.group(1)) if found else None

    def refusal(self):
        """Why the server ended: the code and the message of what it logged first."""
        self.process.wait(TIME)
        self.log.seek(0)
        for line in self.log.read().decode(errors="replace").splitlines():
            try:
                fields = json.loads(line)["fields"]
            except (ValueError, KeyError):
                continue
            if "code" in fields:
                return fields["code"], fields.get("message", "")
        return None, f"the server ended with {self.process.returncode} and said nothing"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def same_device(one, other):
    return os.stat(one).st_dev == os.stat(other).st_dev
