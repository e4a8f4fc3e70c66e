// Asks a model server over REST. Node takes the server's certificate from its environment:
//
// NODE_EXTRA_CA_CERTS=server.crt node predict.mjs https://HOST:PORT
// node predict.mjs http://127.0.0.1:PORT          through `adytum proxy`

const url = process.argv[2];
const answer = await fetch(`${url}/v1/models/iris:predict`, {
  method: "POST",
  body: JSON.stringify({ inputs: { X: [[5.1, 3.5, 1.4, 0.2]] } }),
});
if (!answer.ok) {
  throw new Error(`${answer.status} ${await answer.text()}`);
}
const { outputs } = await answer.json();
console.log("class", outputs.output_label[0], "probability", Math.max(...outputs.output_probability[0]));
