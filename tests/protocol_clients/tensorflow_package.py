"""Asks a served digits model with Google's package tensorflow-serving-api, unchanged.

    pip install tensorflow tensorflow-serving-api
    adytum up examples/digits/model.onnx --name digits
    python tests/protocol_clients/tensorflow_package.py PORT .adytum/public/server.crt

The package needs TensorFlow, 600 MB, so no step of CI runs this.
"""

import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

MODEL = "digits"
SIGNATURE = "serving_default"


def main(port, certificate):
    with open(certificate, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(f"localhost:{port}", credentials)
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = SIGNATURE
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.zeros((2, 8, 8, 1), np.float32)))
    answer = predictions.Predict(request, 10)
    probabilities = tf.make_ndarray(answer.outputs["probabilities"])
    assert probabilities.shape == (2, 10), probabilities.shape
    assert np.allclose(probabilities.sum(1), 1), probabilities

    metadata_request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata_request.model_spec.name = MODEL
    metadata = predictions.GetModelMetadata(metadata_request, 10)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert metadata.metadata["signature_def"].Unpack(signatures)
    sizes = [dimension.size for dimension in signatures.signature_def[SIGNATURE].inputs["image"].tensor_shape.dim]
    assert sizes == [-1, 8, 8, 1], sizes

    status_request = get_model_status_pb2.GetModelStatusRequest()
    status_request.model_spec.name = MODEL
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status_request, 10)
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [version.state for version in status.model_version_status] == [available], status

    request.model_spec.name = "other"
    try:
        predictions.Predict(request, 10)
        raise AssertionError("an unknown model was answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    print("the answers are right")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
