"""Asks a model server over REST, with Python's own library.

python3 rest.py https://HOST:PORT server.crt
python3 rest.py http://127.0.0.1:PORT          through `adytum proxy`
"""

import json
import ssl
import sys
import urllib.request

url, *certificate = sys.argv[1:]
# The server's certificate and no other authority.
trusted = ssl.create_default_context(cafile=certificate[0]) if certificate else None

request = {"inputs": {"X": [[5.1, 3.5, 1.4, 0.2]]}}
with urllib.request.urlopen(f"{url}/v1/models/iris:predict", json.dumps(request).encode(), context=trusted) as answer:
    outputs = json.load(answer)["outputs"]
print("class", outputs["output_label"][0], "probability", max(outputs["output_probability"][0]))
