"""The engine alone: models and recorded values through its example `answers`."""

import struct
import subprocess
import threading


class Outcome:
    """What came of a model: right, refused, failed or wrong; the reason, and the code of a refusal."""

    def __init__(self, word, reason="", code=""):
        self.word, self.reason, self.code = word, reason, code


def _message(content):
    return struct.pack("<I", len(content)) + content


def _record(name, model, inputs, outputs):
    parts = [_message(name.encode()), _message(model)]
    for values in (inputs, outputs):
        parts.append(struct.pack("<I", len(values)))
        parts.extend(_message(value) for value in values)
    return b"".join(parts)


def answer(example, records):
    """The outcomes of records (a name, a model, encoded inputs and outputs), each with its name."""
    process = subprocess.Popen([example], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def give():
        with process.stdin as stdin:
            for record in records:
                stdin.write(_record(*record))

    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    for line in process.stdout:
        word, name, reason = line.decode(errors="replace").rstrip("\n").split("\t")
        code, _, message = reason.partition(": ") if word == "refused" else ("", "", reason)
        yield name, Outcome(word, message or reason, code)
    giver.join()
    if process.wait() != 0:
        raise RuntimeError(f"{example} ended with {process.returncode}")
