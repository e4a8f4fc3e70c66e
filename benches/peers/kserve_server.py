"""KServe's model server with ONNX Runtime behind it."""

import os

import grpc
import uvicorn
from kserve import InferOutput, InferResponse, Model, ModelServer

from session import NAME, open_session


# It listens on all addresses, and has no setting for that.
grpc_listen = grpc.aio._server.Server.add_insecure_port
grpc.aio._server.Server.add_insecure_port = lambda self, address: grpc_listen(
    self, address.replace("[::]", "127.0.0.1")
)
uvicorn_settings = uvicorn.Config.__init__
uvicorn.Config.__init__ = lambda self, *arguments, **settings: uvicorn_settings(
    self, *arguments, **{**settings, "host": "127.0.0.1"}
)


class OnnxModel(Model):
    def load(self):
        self.session = open_session()
        self.ready = True
        return self.ready

    def predict(self, payload, headers=None, response_headers=None):
        feeds = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        names = [output.name for output in self.session.get_outputs()]
        outputs = []
        for name, answer in zip(names, self.session.run(names, feeds)):
            output = InferOutput(name=name, shape=list(answer.shape), datatype="FP32")
            output.set_data_from_numpy(answer, binary_data=True)
            outputs.append(output)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=outputs)


model = OnnxModel(NAME)
model.load()
ModelServer(
    http_port=int(os.environ["PEER_HTTP_PORT"]), grpc_port=int(os.environ["PEER_GRPC_PORT"]), enable_grpc=True
).start([model])
