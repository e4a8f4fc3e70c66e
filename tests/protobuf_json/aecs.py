"""Prints AECS's JSON messages by protobuf's own printer, one a line, for fixed values.

Protobuf's C++ printer, which AECS uses, puts no white space between the parts; its Python printer
gives the same members in the same order.
"""

import json
import pathlib
import sys
import tempfile

from google.protobuf import json_format
from grpc_tools import protoc

here = pathlib.Path(__file__).resolve().parent
with tempfile.TemporaryDirectory() as made:
    arguments = ["protoc", f"-I{here}", f"--python_out={made}", "aecs_messages.proto"]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, made)
    import aecs_messages_pb2 as aecs


def show(message):
    print(json.dumps(json_format.MessageToDict(message), separators=(",", ":")))


show(aecs.TaGetSecretRequest(service_name="service1", secret_name="image_key", nonce="00ff"))
show(
    aecs.SgxQlQveCollateral(
        version=3,
        pck_crl_issuer_chain="a\n",
        root_ca_crl="30",
        pck_crl="31",
        tcb_info_issuer_chain="b",
        tcb_info='{"tcbInfo":{}}',
        qe_identity_issuer_chain="c",
        qe_identity="{}",
    )
)
show(aecs.DcapReport(b64_quote="AA=="))
show(
    aecs.TaGetSecretResponse(
        secret_enc=aecs.DigitalEnvelopeEncrypted(
            aes_cipher=aecs.SymmetricKeyEncrypted(cipher=b"\1\2", mac=b"\3", aad=b"Enclave", iv=b"\4"),
            encrypted_key=b"\5",
            plain_hash=b"6",
            plain_hash_sig=b"\7",
        ),
        nonce="00ff",
    )
)
