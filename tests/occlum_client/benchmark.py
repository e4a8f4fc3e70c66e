"""The reference deployment's benchmark in our words: same flags, same loop, same
lines. A warm-up of 5 requests a task, then --loop requests a task, each task on
a channel of its own."""

import argparse
import asyncio
import time

import grpc

from model_service import prediction_service_pb2_grpc, resnet_request

WARM_UP = 5


async def task(number, loops, arguments, request):
    """Seconds of each request."""
    with open(arguments.crt, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    latencies = []
    async with grpc.aio.secure_channel(arguments.server, credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for index in range(loops):
            start = time.perf_counter()
            await stub.Predict(request)
            latency = time.perf_counter() - start
            latencies.append(latency)
            print(
                f"query: secure channel, task {number}, loop_idx {index}, "
                f"latency(ms) {1000 * latency:.1f}, tps: {1 / latency:.1f}"
            )
    return latencies


async def run(loops, arguments, request):
    start = time.perf_counter()
    tasks = [task(number, loops, arguments, request) for number in range(arguments.cnum)]
    latencies = [latency for each in await asyncio.gather(*tasks) for latency in each]
    elapsed = time.perf_counter() - start
    average = 1000 * sum(latencies) / len(latencies)
    print(
        f"summary: cnum {arguments.cnum}, e2e time(s) {elapsed}, "
        f"average latency(ms) {average}, tps: {len(latencies) / elapsed}"
    )


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main():
    parser = argparse.ArgumentParser(description="Measure a served ResNet-50.")
    parser.add_argument("--server", default="localhost:9000", help="host:port of the model server")
    parser.add_argument("--crt", required=True, help="the server's certificate (PEM)")
    parser.add_argument("--image", required=True, help="the image")
    parser.add_argument("--cnum", default=8, type=positive, help="tasks at the same time")
    parser.add_argument("--loop", default=100, type=positive, help="requests of each task")
    arguments = parser.parse_args()

    request = resnet_request(arguments.image)
    asyncio.run(run(WARM_UP, arguments, request))
    asyncio.run(run(arguments.loop, arguments, request))


if __name__ == "__main__":
    main()
