"""An object store on a free port of this machine, for the tests of `adytum model pull`.

    store.py s3                moto's S3. It checks signatures.
    store.py azure DIRECTORY   Azurite's blob service, on this directory. It checks signatures.
    store.py webdav DIRECTORY  WsgiDAV, read only, on this directory.

It prints one line of JSON with its address and, for S3, the credentials of a user who may list and
read. Azurite has one account, which every client of it knows. Then it takes commands, one JSON object a line, and answers each with a line:

    {"put": KEY, "file": PATH, "cut": BYTES}    BYTES are left away at the end
    {"delete": KEY}

It ends when its input does.
"""

import base64
import ctypes
import hashlib
import hmac
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from email.utils import formatdate

BUCKET = "models"


def say(value):
    print(json.dumps(value), flush=True)


def s3():
    # Read when moto is imported: nothing is checked until the user is made.
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "inf"
    import boto3
    import requests
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://%s:%d" % server.get_host_and_port()
    root = {
        "endpoint_url": address,
        "region_name": "us-east-1",
        "aws_access_key_id": "root",
        "aws_secret_access_key": "root",
    }
    iam = boto3.client("iam", **root)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
    iam.create_user(UserName="reader")
    iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    root.update(aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    bucket = boto3.client("s3", **root)
    bucket.create_bucket(Bucket=BUCKET)
    # From here on each request is checked.
    requests.post(address + "/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    say({"address": address, "bucket": BUCKET, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]})

    def put(name, content):
        bucket.put_object(Bucket=BUCKET, Key=name, Body=content)

    def delete(name):
        bucket.delete_object(Bucket=BUCKET, Key=name)

    commands(put, delete)
    server.stop()


# Azurite's account, which its documentation names.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def azure(directory):
    program = os.path.join(os.path.dirname(sys.prefix), "azurite/node_modules/azurite/dist/src/blob/main.js")
    words = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--location", directory, "--disableTelemetry"]
    process = subprocess.Popen(
        ["node", program, *words, "--skipApiVersionCheck"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # It ends with this program, also if that is killed (PR_SET_PDEATHSIG).
        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM),
    )
    address = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
    # Its log is of no use, and a full pipe would stop it.
    threading.Thread(target=process.stdout.read, daemon=True).start()

    def request(method, path, content=None, query=None, headers=()):
        """A request with a shared key (Microsoft's "Authorize with Shared Key")."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06", **dict(headers)}
        resource = "/%s/%s/%s" % (ACCOUNT, ACCOUNT, path)
        if query:
            resource += "\n%s:%s" % query
        # As urllib sends it.
        kind = "application/x-www-form-urlencoded" if content is not None else ""
        length = str(len(content)) if content else ""
        lines = [method, "", "", length, "", kind, "", "", "", "", "", ""]
        lines += ["%s:%s" % pair for pair in sorted(headers.items())] + [resource]
        signature = hmac.new(base64.b64decode(ACCOUNT_KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
        headers["Authorization"] = "SharedKey %s:%s" % (ACCOUNT, base64.b64encode(signature).decode())
        address_of_it = "%s/%s/%s" % (address, ACCOUNT, path) + ("?%s=%s" % query if query else "")
        message = urllib.request.Request(address_of_it, method=method, data=content, headers=headers)
        urllib.request.urlopen(message, timeout=30).close()

    request("PUT", BUCKET, query=("restype", "container"))
    say({"address": address, "bucket": BUCKET, "account": ACCOUNT, "key": ACCOUNT_KEY})

    def put(name, content):
        request("PUT", "%s/%s" % (BUCKET, name), content, headers={"x-ms-blob-type": "BlockBlob"})

    def delete(name):
        request("DELETE", "%s/%s" % (BUCKET, name))

    commands(put, delete)
    process.terminate()
    process.wait()


def webdav(directory):
    from cheroot import wsgi
    from wsgidav.wsgidav_app import WsgiDAVApp

    application = WsgiDAVApp(
        {
            "provider_mapping": {"/": {"root": directory, "readonly": True}},
            "simple_dc": {"user_mapping": {"*": True}},
            "logging": {"enable": False},
            "verbose": 0,
            "property_manager": False,
            "lock_storage": False,
        }
    )
    server = wsgi.Server(("127.0.0.1", 0), application)
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    say({"address": "http://127.0.0.1:%d" % server.bind_addr[1]})
    commands(None, None)
    server.stop()


def commands(put, delete):
    for line in sys.stdin:
        command = json.loads(line)
        if "put" in command:
            with open(command["file"], "rb") as file:
                content = file.read()
            put(command["put"], content[: len(content) - command.get("cut", 0)])
        else:
            delete(command["delete"])
        say({"done": True})


logging.disable(logging.CRITICAL)
if sys.argv[1] == "s3":
    s3()
elif sys.argv[1] == "azure":
    azure(sys.argv[2])
else:
    webdav(sys.argv[2])
