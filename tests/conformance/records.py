"""Writes the warm-up requests of a model, as TensorFlow Serving reads them: a series of `TFRecord`s."""

import struct

# Below the directory of a version.
FILE = "assets.extra/tf_serving_warmup_requests"
# CRC-32C, the bits of its polynomial in reverse.
POLYNOMIAL = 0x82F63B78
# The fields of `PredictionLog.predict_log` and `PredictLog.request`, which are messages.
PREDICT_LOG, REQUEST = 6, 1


def of_byte(value):
    for _ in range(8):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value


TABLE = [of_byte(value) for value in range(256)]


def masked(data):
    """The checksum as `TFRecord` masks it."""
    sum_ = 0xFFFFFFFF
    for byte in data:
        sum_ = TABLE[(sum_ ^ byte) & 0xFF] ^ sum_ >> 8
    sum_ ^= 0xFFFFFFFF
    return struct.pack("<I", ((sum_ >> 15 | sum_ << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def field(number, content):
    """A field of protocol buffers that is a message."""
    length, rest = b"", len(content)
    while rest >= 0x80:
        length, rest = length + bytes([rest & 0x7F | 0x80]), rest >> 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + content


def of_requests(requests):
    """A file with these `PredictRequest`s."""
    file = b""
    for request in requests:
        record = field(PREDICT_LOG, field(REQUEST, request.SerializeToString()))
        length = struct.pack("<Q", len(record))
        file += length + masked(length) + record + masked(record)
    return file
