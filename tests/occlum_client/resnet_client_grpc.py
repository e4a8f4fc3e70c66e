"""The reference deployment's client in our words: same flags, same call, same
lines. With grpcio, so that a client that isn't ours talks to our server."""

import argparse

import grpc
import numpy as np

from model_service import prediction_service_pb2_grpc, resnet_request

DEADLINE_SECONDS = 10.0


def main():
    parser = argparse.ArgumentParser(description="Classify an image with a served ResNet-50.")
    parser.add_argument("--server", default="localhost:9000", help="host:port of the model server")
    parser.add_argument("--crt", required=True, help="the server's certificate (PEM)")
    parser.add_argument("--image", required=True, help="the image")
    arguments = parser.parse_args()

    with open(arguments.crt, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(arguments.server, credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(resnet_request(arguments.image), DEADLINE_SECONDS)

    # The typed field, not tensor_content: servers must fill it.
    scores = response.outputs["activation_49"].float_val
    best = np.argmax(scores)
    print("Prediction class: ", best)
    print("Probability: ", scores[int(best)])


if __name__ == "__main__":
    main()
