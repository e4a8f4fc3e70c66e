"""Asks a model server over gRPC, without TensorFlow: pip install grpcio grpcio-tools

python3 predict.py HOST:PORT server.crt
python3 predict.py 127.0.0.1:PORT              through `adytum proxy`
"""

import pathlib
import struct
import sys

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).parent))
messages, services = grpc.protos_and_services("predict.proto")

server, *certificate = sys.argv[1:]
if certificate:
    trusted = grpc.ssl_channel_credentials(pathlib.Path(certificate[0]).read_bytes())
    channel = grpc.secure_channel(server, trusted)
else:
    channel = grpc.insecure_channel(server)

request = messages.PredictRequest(model_spec={"name": "iris"})
tensor = request.inputs["X"]
tensor.dtype = 1
for size in (1, 4):
    tensor.tensor_shape.dim.add(size=size)
tensor.float_val.extend([5.1, 3.5, 1.4, 0.2])

answer = services.PredictionServiceStub(channel).Predict(request, timeout=60)


def values(tensor, listed, kind):
    if not tensor.tensor_content:
        return list(listed)
    return [value for (value,) in struct.iter_unpack("<" + kind, tensor.tensor_content)]


labels, probabilities = answer.outputs["output_label"], answer.outputs["output_probability"]
label = values(labels, labels.int64_val, "q")[0]
print("class", label, "probability", max(values(probabilities, probabilities.float_val, "f")))
