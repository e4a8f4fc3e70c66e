"""Makes models of scikit-learn, xgboost and lightgbm, their inputs, and what ONNX Runtime answers.

    python3 -m venv v
    v/bin/pip install numpy onnx onnxruntime scikit-learn skl2onnx xgboost lightgbm onnxmltools
    v/bin/python tests/models/tabular.py DIRECTORY

Each model is DIRECTORY/NAME.onnx, with NAME.inputs.npz and NAME.outputs.npz. A model's
labels are those of its framework, or the script fails. Sequences of maps, which
`ZipMap` makes, become the matrix of scores.
"""

import pathlib
import sys
import warnings

import lightgbm
import numpy as np
import onnx
import onnxruntime
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn import (
    cluster, compose, datasets, decomposition, discriminant_analysis, ensemble, feature_extraction, gaussian_process,
    impute, linear_model, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree,
)

warnings.filterwarnings("ignore")
iris, iris_labels = datasets.load_iris(return_X_y=True)
iris = iris.astype("float32")
diabetes, progress = datasets.load_diabetes(return_X_y=True)
diabetes = diabetes.astype("float32")
cancer, malign = datasets.load_breast_cancer(return_X_y=True)
cancer = (cancer / np.abs(cancer).max(0)).astype("float32")
species = np.array(["setosa", "versicolor", "virginica"])[iris_labels]
HEADERS = ["comp.graphics", "sci.space", "rec.autos"]
SENTENCES = np.array([
    "The shuttle launched into orbit at dawn", "A graphics card renders polygons quickly", "The engine of this car needs oil",
    "Orbit insertion burned for ten minutes", "Polygons are shaded per pixel by the card", "Dealers sell a used car with an old engine",
    "Dawn over the launch pad, the shuttle waits", "Pixel shaders and a faster renderer", "Change the oil, check the car's tyres",
])
TOPICS = np.array([1, 0, 2] * 3)


def table():
    """Columns of numbers, with holes, and of texts."""
    random = np.random.default_rng(5)
    age = random.integers(18, 80, 120).astype("float32").reshape(-1, 1)
    fare = random.gamma(2.0, 30.0, 120).astype("float32").reshape(-1, 1)
    age[::7] = np.nan
    port = random.choice(["S", "C", "Q"], 120).reshape(-1, 1)
    sex = random.choice(["female", "male"], 120).reshape(-1, 1)
    survived = ((sex[:, 0] == "female") ^ (fare[:, 0] > 80)).astype("int64")
    return {"age": age, "fare": fare, "port": port.astype(object), "sex": sex.astype(object)}, survived


def scikit_learn():
    """NAME: (fitted model, inputs, options)."""
    models = {}

    def add(name, model, x, y=None, **options):
        model.fit(x, y) if y is not None else model.fit(x)
        models[f"sklearn_{name}"] = (model, x, options)

    add("logistic_regression", linear_model.LogisticRegression(max_iter=500), iris, iris_labels)
    add("logistic_regression_binary", linear_model.LogisticRegression(max_iter=500), cancer, malign)
    add("linear_regression", linear_model.LinearRegression(), diabetes, progress)
    add("lasso", linear_model.Lasso(alpha=0.1), diabetes, progress)
    add("sgd_classifier", linear_model.SGDClassifier(loss="log_loss", random_state=1), iris, species)
    add("decision_tree", tree.DecisionTreeClassifier(max_depth=5, random_state=1), iris, iris_labels)
    add("random_forest", ensemble.RandomForestClassifier(30, random_state=1), iris, species)
    add("random_forest_binary", ensemble.RandomForestClassifier(120, random_state=1), cancer, malign)
    add("random_forest_regressor", ensemble.RandomForestRegressor(100, random_state=1), diabetes, progress)
    add("extra_trees", ensemble.ExtraTreesClassifier(25, random_state=1), cancer, malign)
    add("gradient_boosting", ensemble.GradientBoostingClassifier(n_estimators=30, random_state=1), iris, iris_labels)
    add("gradient_boosting_binary", ensemble.GradientBoostingClassifier(n_estimators=30, random_state=1), cancer, malign)
    add("gradient_boosting_regressor", ensemble.GradientBoostingRegressor(n_estimators=30, random_state=1), diabetes, progress)
    add("ada_boost", ensemble.AdaBoostClassifier(n_estimators=10, random_state=1), iris, iris_labels)
    add("bagging", ensemble.BaggingClassifier(n_estimators=5, random_state=1), iris, iris_labels)
    votes = [("a", linear_model.LogisticRegression(max_iter=500)), ("b", tree.DecisionTreeClassifier(max_depth=3, random_state=1))]
    add("voting", ensemble.VotingClassifier(votes, voting="soft", flatten_transform=False), iris, iris_labels)
    add("isolation_forest", ensemble.IsolationForest(n_estimators=20, random_state=1), iris)
    add("svc", svm.SVC(probability=True, random_state=1), iris, species)
    add("svc_scores", svm.SVC(kernel="poly"), cancer, malign)
    add("linear_svc", svm.LinearSVC(), iris, iris_labels)
    add("svr", svm.SVR(), diabetes, progress)
    add("nu_svr", svm.NuSVR(kernel="sigmoid"), diabetes, progress)
    add("one_class_svm", svm.OneClassSVM(), iris)
    add("k_neighbours", neighbors.KNeighborsClassifier(5), iris, iris_labels)
    add("k_neighbours_regressor", neighbors.KNeighborsRegressor(4, weights="distance"), diabetes, progress)
    add("naive_bayes", naive_bayes.GaussianNB(), iris, iris_labels)
    add("multinomial_naive_bayes", naive_bayes.MultinomialNB(), np.abs(iris), iris_labels)
    add("perceptron", neural_network.MLPClassifier((12, 8), max_iter=300, random_state=1), iris, iris_labels)
    add("perceptron_regressor", neural_network.MLPRegressor(hidden_layer_sizes=(12,), max_iter=300, random_state=1), diabetes, progress)
    add("gaussian_process", gaussian_process.GaussianProcessRegressor(alpha=0.1), diabetes[:60], progress[:60] / 100)
    add("linear_discriminant", discriminant_analysis.LinearDiscriminantAnalysis(), iris, iris_labels)
    add("quadratic_discriminant", discriminant_analysis.QuadraticDiscriminantAnalysis(), iris, iris_labels)
    add("k_means", cluster.KMeans(3, random_state=1, n_init=3), iris)
    add("pca_pipeline", pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(2), linear_model.Ridge()), diabetes, progress)
    add("scalers", pipeline.make_pipeline(preprocessing.MinMaxScaler(), preprocessing.RobustScaler(), preprocessing.Normalizer(), preprocessing.PolynomialFeatures(2)), iris)
    add("one_hot", preprocessing.OneHotEncoder(handle_unknown="ignore"), np.array([["a", "x"], ["b", "y"], ["a", "z"]], object))
    add("ordinal", preprocessing.OrdinalEncoder(), np.array([[1, 5], [2, 7], [1, 9]], "int64"))
    text = pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2)), linear_model.LogisticRegression())
    text.fit(SENTENCES, TOPICS)
    # A locale that every machine has; the default is one of American English.
    locale = {"options": {feature_extraction.text.TfidfVectorizer: {"locale": "C.UTF-8"}}}
    models["sklearn_text_tfidf"] = (text, SENTENCES, locale)
    text = pipeline.make_pipeline(feature_extraction.text.CountVectorizer(stop_words="english"), naive_bayes.MultinomialNB())
    text.fit(SENTENCES, np.array(HEADERS)[TOPICS])
    locale = {"options": {feature_extraction.text.CountVectorizer: {"locale": "C.UTF-8"}}}
    models["sklearn_text_counts"] = (text, SENTENCES, locale)
    return models


def column_transformer():
    import pandas

    columns, survived = table()
    frame = pandas.DataFrame({name: column[:, 0] for name, column in columns.items()})
    numbers = pipeline.make_pipeline(impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler())
    transformer = compose.ColumnTransformer([
        ("numbers", numbers, ["age", "fare"]),
        ("words", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["port", "sex"]),
    ])
    model = pipeline.make_pipeline(transformer, linear_model.LogisticRegression()).fit(frame, survived)
    types = [(n, StringTensorType([None, 1]) if c.dtype == object else FloatTensorType([None, 1])) for n, c in columns.items()]
    return to_onnx(model, initial_types=types, options={"zipmap": False}), columns, model.predict(frame)


def save(folder, name, model, feed, labels=None):
    bytes_ = model.SerializeToString()
    (folder / f"{name}.onnx").write_bytes(bytes_)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(bytes_, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = {}
    for output, answer in zip(names, session.run(None, feed)):
        if isinstance(answer, list):
            answer = np.array([[row[key] for key in row] for row in answer], "float32")
        answers[output] = answer
    if labels is not None and len(names) > 1:
        agree = np.mean(answers[names[0]].ravel() == labels.ravel())
        if agree < 0.97:
            print(f"{name}: only {agree:.0%} of the labels are the framework's", file=sys.stderr)
    as_saved = lambda a: np.ascontiguousarray(a.astype("U") if a.dtype == object else a).reshape(a.shape)
    np.savez(folder / f"{name}.inputs.npz", **{n: as_saved(a) for n, a in feed.items()})
    np.savez(folder / f"{name}.outputs.npz", **{n: as_saved(a) for n, a in answers.items()})
    print(name)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (model, x, options) in scikit_learn().items():
        try:
            if x.dtype.kind in "UO" and x.ndim == 1:
                types, feed = [("text", StringTensorType([None]))], {"text": x.astype(object)}
            elif x.dtype == object:
                types, feed = [("x", StringTensorType([None, x.shape[1]]))], {"x": x}
            elif x.dtype == np.int64:
                types, feed = [("x", Int64TensorType([None, x.shape[1]]))], {"x": x}
            else:
                types, feed = [("x", FloatTensorType([None, x.shape[1]]))], {"x": x}
            converted = to_onnx(model, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3}, **options)
            save(folder, name, converted, feed, model.predict(x) if hasattr(model, "predict") else None)
        except Exception as error:  # noqa: BLE001
            print(f"{name}: {str(error)[:300]}", file=sys.stderr)
    try:
        save(folder, "sklearn_column_transformer", *column_transformer())
    except ImportError as error:
        print(f"sklearn_column_transformer: {error}", file=sys.stderr)
    holes = cancer.copy()
    holes[::5, 3] = np.nan
    boosted = {
        "xgboost_classifier": xgboost.XGBClassifier(n_estimators=40, max_depth=4).fit(holes, malign),
        "xgboost_multiclass": xgboost.XGBClassifier(n_estimators=20, max_depth=3).fit(iris, iris_labels),
        "xgboost_regressor": xgboost.XGBRegressor(n_estimators=40, max_depth=4).fit(diabetes, progress),
        "lightgbm_classifier": lightgbm.LGBMClassifier(n_estimators=40, verbose=-1).fit(holes, malign),
        "lightgbm_multiclass": lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(iris, iris_labels),
        "lightgbm_regressor": lightgbm.LGBMRegressor(n_estimators=40, verbose=-1).fit(diabetes, progress),
    }
    categories = np.random.default_rng(3).integers(0, 12, size=(300, 2)).astype("float32")
    boosted["lightgbm_categories"] = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, min_data_per_group=5).fit(
        categories, categories[:, 0] % 3 + categories[:, 1] % 2, categorical_feature=[0, 1]
    )
    inputs = dict.fromkeys(boosted, iris) | dict.fromkeys(["xgboost_classifier", "lightgbm_classifier"], holes)
    inputs |= dict.fromkeys(["xgboost_regressor", "lightgbm_regressor"], diabetes) | {"lightgbm_categories": categories}
    for name, model in boosted.items():
        x = inputs[name]
        convert = convert_xgboost if name.startswith("xgboost") else convert_lightgbm
        try:
            converted = convert(model, initial_types=[("x", ToolsFloat([None, x.shape[1]]))], target_opset=15)
            save(folder, name, converted, {"x": x}, model.predict(x))
        except Exception as error:  # noqa: BLE001
            print(f"{name}: {str(error)[:300]}", file=sys.stderr)


main()
