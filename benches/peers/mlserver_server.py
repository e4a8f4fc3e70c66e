"""MLServer with ONNX Runtime behind it."""

import asyncio
import os

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from session import NAME, open_session


class Model(MLModel):
    async def load(self) -> bool:
        self.session = open_session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        outputs = [output.name for output in self.session.get_outputs()]
        answers = self.session.run(outputs, feeds)
        encoded = [NumpyCodec.encode_output(name, answer) for name, answer in zip(outputs, answers)]
        return InferenceResponse(model_name=self.name, outputs=encoded)


async def main():
    settings = Settings(
        host="127.0.0.1",
        grpc_port=int(os.environ["PEER_GRPC_PORT"]),
        http_port=int(os.environ["PEER_HTTP_PORT"]),
        metrics_endpoint=None,
        # Without processes of its own: they would only pass the requests on to each other here.
        parallel_workers=0,
    )
    server = MLServer(settings)
    await server.start([ModelSettings(name=NAME, implementation=Model)])


asyncio.run(main())
