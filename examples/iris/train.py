# The model of docs/own-model.md: pip install scikit-learn skl2onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from skl2onnx import to_onnx

X, y = load_iris(return_X_y=True)
X = X.astype("float32")
model = LogisticRegression(max_iter=200).fit(X, y)
open("iris.onnx", "wb").write(to_onnx(model, X[:1]).SerializeToString())
