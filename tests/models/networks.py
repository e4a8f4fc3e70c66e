"""Makes models of PyTorch, torchvision and transformers, quantised forms of some of them, their
inputs, and what ONNX Runtime answers. All weights are random, from a fixed seed.

    python3 -m venv v
    v/bin/pip install numpy onnx onnxruntime onnxscript onnxconverter-common torch torchvision transformers
    v/bin/python tests/models/networks.py DIRECTORY [PART OF A NAME]

Each model is DIRECTORY/NAME.onnx, with NAME.inputs.npz and NAME.outputs.npz. A quantised model has
NAME.tolerance: how far it is from the model that was quantised, in parts of the largest value.
"""

import pathlib
import sys
import traceback
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision
import transformers
from onnxconverter_common import float16
from onnxruntime import quantization
from torch import nn

warnings.filterwarnings("ignore")
onnxruntime.set_default_logger_severity(4)
torch.set_grad_enabled(False)
BATCH = torch.export.Dim("batch", min=1, max=64)
MODELS = {}


def model(function):
    """Registers a function that gives a module and its example inputs, by their names."""
    MODELS[function.__name__] = function
    return function


def randomise(module):
    """Normalisations that change nothing test nothing."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 0.8, 1.2)
            nn.init.normal_(part.bias, 0, 0.1)
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
    return module.eval()


def picture(side, batch=2):
    return {"pixels": torch.rand(batch, 3, side, side)}


def classifier(name, side=96, **options):
    def make():
        return getattr(torchvision.models, name)(weights=None, **options), picture(side)

    MODELS["torchvision_" + name] = make


for _name, _side in [
    ("resnet18", 96), ("resnext50_32x4d", 96), ("mobilenet_v2", 96), ("mobilenet_v3_small", 96), ("efficientnet_b0", 96),
    ("densenet121", 96), ("squeezenet1_1", 96), ("shufflenet_v2_x1_0", 96), ("mnasnet0_5", 96), ("regnet_y_400mf", 96),
    ("convnext_tiny", 64), ("swin_t", 64),
]:
    classifier(_name, _side)
classifier("googlenet", 96, aux_logits=False, init_weights=False)
classifier("inception_v3", 128, aux_logits=False, init_weights=False)


@model
def torchvision_vision_transformer():
    network = torchvision.models.VisionTransformer(64, 8, 4, 4, 64, 128)
    nn.init.normal_(network.heads.head.weight, 0, 0.1)
    return network, picture(64)


class Only(nn.Module):
    """One entry of what a module gives."""

    def __init__(self, module, key):
        super().__init__()
        self.module, self.key = module, key

    def forward(self, pixels):
        return self.module(pixels)[self.key]


def segmentation(name):
    def make():
        network = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, num_classes=5)
        return Only(network, "out"), picture(96)

    MODELS["segmentation_" + name] = make


for _name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"):
    segmentation(_name)


class Sequence(nn.Module):
    """A recurrent layer, and what is made of its last step."""

    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x):
        steps, _ = self.layer(x)
        return steps, self.head(steps[:, -1])


@model
def torch_lstm():
    return Sequence(nn.LSTM(8, 16, num_layers=2, batch_first=True), 16), {"x": torch.randn(2, 12, 8)}


@model
def torch_lstm_bidirectional():
    return Sequence(nn.LSTM(8, 16, bidirectional=True, batch_first=True), 32), {"x": torch.randn(2, 12, 8)}


@model
def torch_gru():
    return Sequence(nn.GRU(8, 16, batch_first=True), 16), {"x": torch.randn(2, 12, 8)}


@model
def torch_rnn():
    return Sequence(nn.RNN(8, 16, nonlinearity="relu", batch_first=True), 16), {"x": torch.randn(2, 12, 8)}


@model
def torch_transformer_encoder():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), {"x": torch.randn(2, 10, 32)}


@model
def torch_perceptron():
    network = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 8), nn.LogSoftmax(-1))
    return network, {"x": torch.randn(4, 16)}


@model
def torch_perceptron_float64():
    network = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 8), nn.Softmax(-1)).double()
    return network, {"x": torch.randn(4, 16, dtype=torch.float64)}


@model
def torch_autoencoder():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ELU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.PReLU(16),
        nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), nn.InstanceNorm2d(8, affine=True), nn.SiLU(),
        nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
    )
    return network, picture(32)


@model
def torch_volume():
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 8, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
    )
    return network, {"x": torch.randn(2, 1, 12, 12, 12)}


@model
def torch_signal():
    network = nn.Sequential(
        nn.Conv1d(2, 8, 9, dilation=2), nn.GroupNorm(4, 8), nn.LeakyReLU(0.1), nn.AvgPool1d(2), nn.ConvTranspose1d(8, 4, 4, stride=2), nn.Hardswish(),
    )
    return network, {"x": torch.randn(2, 2, 64)}


class UpAndDown(nn.Module):
    """Resizing in the ways that networks do."""

    def forward(self, pixels):
        resize = nn.functional.interpolate
        return (
            resize(pixels, scale_factor=2, mode="nearest"),
            resize(pixels, size=(20, 28), mode="bilinear", align_corners=False),
            resize(pixels, scale_factor=1.5, mode="bilinear", align_corners=True),
            resize(pixels, size=(33, 33), mode="bicubic", align_corners=False),
            nn.functional.pixel_unshuffle(pixels, 2),
        )


@model
def torch_resizing():
    return UpAndDown(), picture(16)


class Recommender(nn.Module):
    """Tables of people and things, and a network over their vectors."""

    def __init__(self):
        super().__init__()
        self.people, self.things = nn.Embedding(50, 8), nn.Embedding(200, 8)
        self.network = nn.Sequential(nn.Linear(17, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, person, thing):
        a, b = self.people(person), self.things(thing)
        joined = torch.cat([a, b, (a * b).sum(-1, keepdim=True)], -1)
        score = torch.sigmoid(self.network(joined)).squeeze(-1)
        return score, torch.topk(score.flatten(), 2).indices


@model
def torch_recommender():
    return Recommender(), {"person": torch.tensor([1, 7, 49, 3]), "thing": torch.tensor([0, 150, 199, 42])}


class Named(nn.Module):
    """A model of transformers with tensors as its inputs and outputs."""

    def __init__(self, module, names, outputs):
        super().__init__()
        self.module, self.names, self.outputs = module, names, outputs

    def forward(self, *inputs):
        found = self.module(**dict(zip(self.names, inputs)), return_dict=True)
        return tuple(found[name] for name in self.outputs)


def words(batch=2, length=12, vocabulary=100):
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[1, length - 4:] = 0
    return {"input_ids": torch.randint(5, vocabulary, (batch, length)), "attention_mask": mask}


SMALL = dict(
    vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64,
)


def transformer(name, configuration, class_name, outputs=("logits",), inputs=words, **options):
    def make():
        config = getattr(transformers, configuration)(**options, attn_implementation="eager")
        network = getattr(transformers, class_name)(config)
        given = inputs()
        return Named(network, list(given), list(outputs)), given

    MODELS["transformers_" + name] = make


transformer("bert", "BertConfig", "BertForSequenceClassification", **SMALL)
transformer("roberta", "RobertaConfig", "RobertaForTokenClassification", **SMALL)
transformer("electra", "ElectraConfig", "ElectraForSequenceClassification", embedding_size=16, **SMALL)
transformer("albert", "AlbertConfig", "AlbertForMaskedLM", embedding_size=16, **SMALL)
transformer("mpnet", "MPNetConfig", "MPNetForSequenceClassification", **SMALL)
transformer("deberta_v2", "DebertaV2Config", "DebertaV2ForSequenceClassification", relative_attention=True, pos_att_type=["p2c", "c2p"], **SMALL)
transformer("distilbert", "DistilBertConfig", "DistilBertForQuestionAnswering", ("start_logits", "end_logits"), vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
transformer("gpt2", "GPT2Config", "GPT2LMHeadModel", vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64, use_cache=False)
transformer("llama", "LlamaConfig", "LlamaForCausalLM", num_key_value_heads=2, use_cache=False, **SMALL)
transformer("qwen2", "Qwen2Config", "Qwen2ForCausalLM", num_key_value_heads=2, use_cache=False, **SMALL)
transformer("t5_encoder", "T5Config", "T5EncoderModel", ("last_hidden_state",), vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
transformer("vit", "ViTConfig", "ViTForImageClassification", inputs=lambda: {"pixel_values": torch.rand(2, 3, 32, 32)}, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8)
transformer("segformer", "SegformerConfig", "SegformerForSemanticSegmentation", inputs=lambda: {"pixel_values": torch.rand(2, 3, 64, 64)}, depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16, num_labels=4)
transformer("wav2vec2", "Wav2Vec2Config", "Wav2Vec2ForCTC", inputs=lambda: {"input_values": torch.randn(2, 4000)}, vocab_size=20, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, conv_dim=[16, 16, 16], conv_stride=[5, 2, 2], conv_kernel=[10, 3, 3], num_feat_extract_layers=3, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
transformer("clip_text", "CLIPTextConfig", "CLIPTextModel", ("last_hidden_state", "pooler_output"), vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64, eos_token_id=2)


def detection(name):
    def make():
        network = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=5, score_thresh=0.01)
        return network, {"pixels": [torch.rand(3, 320, 320)]}

    MODELS["detection_" + name] = make


# With random weights scores are nearly equal, and ONNX Runtime itself sorts ssdlite's boxes in another order
# without its optimisations: of detection networks with trained weights see packaged.py.
detection("fasterrcnn_mobilenet_v3_large_320_fpn")

# Exported by tracing, at the opsets of older tools.
OLD_OPSETS = {f"torchvision_resnet18_opset_{opset}": opset for opset in (9, 11, 13, 17)}
for _name in OLD_OPSETS:
    MODELS[_name] = lambda: (torchvision.models.resnet18(weights=None), picture(64))


def export(name, folder):
    torch.manual_seed(12)
    network, inputs = MODELS[name]()
    network = randomise(network)
    path = folder / f"{name}.onnx"
    arguments, names = tuple(inputs.values()), list(inputs)
    is_old = name in OLD_OPSETS or name.startswith("detection_")
    if is_old:
        torch.onnx.export(network, arguments, str(path), dynamo=False, opset_version=OLD_OPSETS.get(name, 17), input_names=names,
                          dynamic_axes=None if name.startswith("detection_") else {names[0]: {0: "batch"}})
        inputs = {key: value[0] if isinstance(value, list) else value for key, value in inputs.items()}
    else:
        shapes = tuple({0: BATCH} for _ in arguments)
        takes_any = isinstance(network, Named)
        torch.onnx.export(network, arguments, str(path), dynamo=True, external_data=False, input_names=names, verbose=False,
                          dynamic_shapes=(shapes,) if takes_any else shapes)
    record(path, {key: value.numpy() for key, value in inputs.items()})


def answers(path, inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    known = {given.name for given in session.get_inputs()}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {key: value for key, value in inputs.items() if key in known})))


def record(path, inputs):
    outputs = answers(path, inputs)
    known = {given.name for given in onnx.load(str(path), load_external_data=False).graph.input}
    np.savez(path.with_suffix(".inputs.npz"), **{key: value for key, value in inputs.items() if key in known})
    np.savez(path.with_suffix(".outputs.npz"), **outputs)
    return outputs


class Examples(quantization.CalibrationDataReader):
    def __init__(self, inputs):
        self.left = iter([inputs])

    def get_next(self):
        return next(self.left, None)


def quantised(source, name, folder, write):
    """A form of a model, and how far it is from the model."""
    inputs = dict(np.load(folder / f"{source}.inputs.npz"))
    expected = dict(np.load(folder / f"{source}.outputs.npz"))
    path = folder / f"{name}.onnx"
    write(str(folder / f"{source}.onnx"), str(path), inputs)
    if name.endswith("float16_io"):
        inputs = {key: value.astype("float16") if value.dtype == np.float32 else value for key, value in inputs.items()}
    found = record(path, inputs)
    # Of 16 bits the last one is 1e-3 of a number.
    error = 1e-3 if "float16" in name else 1e-4
    for wanted, got in zip(expected.values(), found.values()):
        if wanted.shape == got.shape and wanted.dtype.kind == "f":
            error = max(error, float(np.abs(wanted - got.astype("float64")).max() / np.abs(wanted).max()))
    path.with_suffix(".tolerance").write_text(f"{error:.6f}\n")


def dynamic(source, target, _inputs):
    quantization.quantize_dynamic(source, target)


def static(form):
    def write(source, target, inputs):
        prepared = target + ".prepared"
        quantization.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(prepared, target, Examples(inputs), quant_format=form, per_channel=True)
        pathlib.Path(prepared).unlink()

    return write


def half(source, target, _inputs):
    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=not target.endswith("_io.onnx")), target)


def external(source, target, _inputs):
    onnx.save(onnx.load(source), target, save_as_external_data=True, location=pathlib.Path(target).name + ".data", size_threshold=256)


FORMS = [
    ("transformers_bert", "dynamic", dynamic), ("torch_perceptron", "dynamic", dynamic), ("torch_lstm", "dynamic", dynamic),
    ("transformers_vit", "dynamic", dynamic), ("torchvision_mobilenet_v2", "dynamic", dynamic),
    ("torchvision_resnet18", "qdq", static(quantization.QuantFormat.QDQ)), ("torchvision_mobilenet_v2", "qdq", static(quantization.QuantFormat.QDQ)),
    ("transformers_bert", "qdq", static(quantization.QuantFormat.QDQ)),
    ("torchvision_resnet18", "qoperator", static(quantization.QuantFormat.QOperator)),
    ("torchvision_squeezenet1_1", "qoperator", static(quantization.QuantFormat.QOperator)),
    ("torchvision_resnet18", "float16", half), ("torchvision_mobilenet_v2", "float16_io", half), ("transformers_bert", "float16", half),
    ("transformers_distilbert", "external", external),
]


def main():
    folder = pathlib.Path(sys.argv[1])
    part = sys.argv[2] if len(sys.argv) > 2 else ""
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    jobs = [(name, lambda name=name: export(name, folder)) for name in MODELS]
    jobs += [(f"{s}_{kind}", lambda s=s, kind=kind, write=write: quantised(s, f"{s}_{kind}", folder, write)) for s, kind, write in FORMS]
    for name, job in jobs:
        if part not in name or (folder / f"{name}.outputs.npz").exists():
            continue
        try:
            job()
            print(f"{name}: written", flush=True)
        except Exception as error:  # noqa: BLE001 - the others are written
            failed.append(name)
            print(f"{name}: {str(error)[:300]}", file=sys.stderr, flush=True)
            traceback.print_exc(limit=1)
    if failed:
        sys.exit(f"not written: {', '.join(failed)}")


if __name__ == "__main__":
    main()
