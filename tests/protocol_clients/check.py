"""Asks a server that serves half_plus_two (y = x / 2 + 2), with clients that are not ours. Prints
a line for each check that passes, and ends with an error at the first that does not."""

import argparse
import asyncio
import json
import sys
import urllib.error
import urllib.request

import numpy as np

TIMEOUT = 20.0


def check(name, found, expected):
    if found != expected:
        raise SystemExit(f"{name}: found {found!r}, expected {expected!r}")
    print(f"ok {name}")


def predict_request(tfs, values, signature="", output_filter=()):
    request = tfs.predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.model_spec.signature_name = signature
    request.inputs["x"].dtype = tfs.types_pb2.DT_FLOAT
    request.inputs["x"].float_val.extend(values)
    request.inputs["x"].tensor_shape.dim.add().size = len(values)
    request.output_filter.extend(output_filter)
    return request


def tensorflow_serving(address):
    """What TensorFlow Serving's own test of its server asserts, over gRPC."""
    import grpc

    import serving_api as tfs

    with grpc.insecure_channel(address) as channel:
        prediction = tfs.prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = tfs.model_service_pb2_grpc.ModelServiceStub(channel)
        for output_filter in ((), ("y",)):
            answer = prediction.Predict(predict_request(tfs, [2.0], output_filter=output_filter), TIMEOUT)
            check("Predict", list(answer.outputs["y"].float_val), [3.0])
            check("Predict's version", answer.model_spec.version.value, 123)
            check("Predict's signature", answer.model_spec.signature_name, "serving_default")

        request = tfs.classification_pb2.ClassificationRequest()
        request.model_spec.name = "default"
        request.model_spec.signature_name = "classify_x_to_y"
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
        answer = prediction.Classify(request, TIMEOUT)
        check("Classify", [c.score for c in answer.result.classifications[0].classes], [3.0])

        request = tfs.regression_pb2.RegressionRequest()
        request.model_spec.name = "default"
        request.model_spec.signature_name = "regress_x_to_y"
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
        answer = prediction.Regress(request, TIMEOUT)
        check("Regress", [r.value for r in answer.result.regressions], [3.0])

        request = tfs.inference_pb2.MultiInferenceRequest()
        for signature, method in (("regress_x_to_y", "regress"), ("classify_x_to_y", "classify")):
            task = request.tasks.add()
            task.model_spec.name = "default"
            task.model_spec.signature_name = signature
            task.method_name = f"tensorflow/serving/{method}"
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
        answer = prediction.MultiInference(request, TIMEOUT)
        check("MultiInference, regression", answer.results[0].regression_result.regressions[0].value, 3.0)
        check("MultiInference, classes", answer.results[1].classification_result.classifications[0].classes[0].score, 3.0)

        request = tfs.get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "default"
        answer = models.GetModelStatus(request, TIMEOUT)
        check("GetModelStatus", [(v.version, v.state, v.status.error_code) for v in answer.model_version_status], [(123, 30, 0)])

        request = tfs.get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = "default"
        request.metadata_field.append("signature_def")
        answer = prediction.GetModelMetadata(request, TIMEOUT)
        signatures = tfs.get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        check("GetModelMetadata", "classify_x_to_y" in signatures.signature_def, True)

        request = predict_request(tfs, [2.0])
        request.model_spec.name = "other"
        try:
            prediction.Predict(request, TIMEOUT)
            raise SystemExit("a model that is not there answered")
        except grpc.RpcError as error:
            check("a wrong name", (error.code(), "Servable" in error.details()), (grpc.StatusCode.NOT_FOUND, True))

    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        with grpc.insecure_channel(address, compression=compression) as channel:
            prediction = tfs.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = prediction.Predict(predict_request(tfs, [2.0] * 5000), TIMEOUT)
            check(f"Predict, {compression.name}", list(answer.outputs["y"].float_val), [3.0] * 5000)


def reflection(address):
    import grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(address) as channel:
        try:
            services = ProtoReflectionDescriptorDatabase(channel).get_services()
        except grpc.RpcError as error:
            raise SystemExit(f"no reflection: {error}") from error
    check("reflection", "tensorflow.serving.PredictionService" in services, True)


def rest(address):
    def ask(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://{address}{path}", data), timeout=TIMEOUT) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    model = "/v1/models/default"
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    check("REST classify", ask(f"{model}:classify", body), (200, {"results": [[["", 3.0]]]}))
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}
    check("REST regress", ask(f"{model}:regress", body), (200, {"results": [3.0]}))
    check("REST rows", ask(f"{model}:predict", {"instances": [2.0, 3.0, 4.0]}), (200, {"predictions": [3.0, 3.5, 4.0]}))
    check("REST columns", ask(f"{model}:predict", {"inputs": [2.0, 3.0, 4.0]}), (200, {"outputs": [3.0, 3.5, 4.0]}))
    status = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    check("REST status", ask(model), (200, {"model_version_status": [status]}))
    check("REST wrong name", ask("/v1/models/other")[0], 404)
    check("KServe's V1 list", ask("/v1/models"), (200, {"models": ["default", "texts", "halves"]}))


def triton(grpc_address, http_address):
    import tritonclient.grpc
    import tritonclient.http

    for kind, module, address in (("gRPC", tritonclient.grpc, grpc_address), ("HTTP", tritonclient.http, http_address)):
        client = module.InferenceServerClient(address)
        check(f"triton {kind}: live", client.is_server_live(), True)
        check(f"triton {kind}: ready", client.is_server_ready(), True)
        check(f"triton {kind}: model ready", client.is_model_ready("default"), True)
        check(f"triton {kind}: version ready", client.is_model_ready("default", "123"), True)
        client.get_server_metadata()
        client.get_model_metadata("default")
        client.get_model_repository_index()
        x = np.array([[2.0], [4.0]], dtype=np.float32)
        tensor = module.InferInput("x", x.shape, "FP32")
        tensor.set_data_from_numpy(x)
        answer = client.infer("default", [tensor], outputs=[module.InferRequestedOutput("y")])
        check(f"triton {kind}: infer", answer.as_numpy("y").tolist(), [[3.0], [4.0]])
        answer = client.infer("default", [tensor])
        check(f"triton {kind}: all outputs", answer.as_numpy("y").tolist(), [[3.0], [4.0]])
        if kind == "HTTP":
            tensor.set_data_from_numpy(x, binary_data=False)
            outputs = [module.InferRequestedOutput("y", binary_data=False)]
            answer = client.infer("default", [tensor], outputs=outputs, request_compression_algorithm="gzip")
            check("triton HTTP: JSON, gzip", answer.as_numpy("y").tolist(), [[3.0], [4.0]])
        else:
            answer = client.infer("default", [tensor], compression_algorithm="gzip")
            check("triton gRPC: gzip", answer.as_numpy("y").tolist(), [[3.0], [4.0]])
        text = module.InferInput("x", [2], "BYTES")
        text.set_data_from_numpy(np.array([b"a\xff", b""], dtype=np.object_))
        answer = client.infer("texts", [text])
        check(f"triton {kind}: BYTES", list(answer.as_numpy("y")), [b"a\xff", b""])
        half = module.InferInput("x", [2], "FP16")
        half.set_data_from_numpy(np.array([1.5, -2.0], dtype=np.float16))
        answer = client.infer("halves", [half])
        check(f"triton {kind}: FP16", answer.as_numpy("y").tolist(), [1.5, -2.0])
        client.close()


async def kserve(grpc_address, http_address):
    # It reads the command line of the program that it is in.
    sys.argv = sys.argv[:1]
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    x = InferInput(name="x", shape=[2, 1], datatype="FP32", data=[[2.0], [4.0]])
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    base = f"http://{http_address}"
    check("kserve REST: live", await client.is_server_live(base), True)
    check("kserve REST: ready", await client.is_server_ready(base), True)
    check("kserve REST: model ready", await client.is_model_ready(base, "default"), True)
    answer = await client.infer(base, InferRequest(model_name="default", infer_inputs=[x]), model_name="default")
    check("kserve REST: infer", np.asarray(answer.outputs[0].data).ravel().tolist(), [3.0, 4.0])
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    answer = await v1.infer(base, {"instances": [2.0, 4.0]}, model_name="default")
    check("kserve REST V1: infer", answer["predictions"], [3.0, 4.0])
    grpc_client = InferenceGRPCClient(grpc_address)
    check("kserve gRPC: live", await grpc_client.is_server_live(), True)
    check("kserve gRPC: model ready", await grpc_client.is_model_ready("default"), True)
    flat = InferInput(name="x", shape=[2, 1], datatype="FP32", data=[2.0, 4.0])
    answer = await grpc_client.infer(InferRequest(model_name="default", infer_inputs=[flat]))
    check("kserve gRPC: infer", np.asarray(answer.outputs[0].as_numpy()).ravel().tolist(), [3.0, 4.0])


def main():
    parser = argparse.ArgumentParser()
    # One a process: two of the packages have messages of the same names.
    parser.add_argument("client", choices=("tensorflow-serving", "triton", "kserve"))
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--rest", required=True)
    arguments = parser.parse_args()
    if arguments.client == "tensorflow-serving":
        tensorflow_serving(arguments.grpc)
        reflection(arguments.grpc)
        rest(arguments.rest)
    elif arguments.client == "triton":
        triton(arguments.grpc, arguments.rest)
    else:
        asyncio.run(kserve(arguments.grpc, arguments.rest))
    print("all checks passed")


if __name__ == "__main__":
    main()
