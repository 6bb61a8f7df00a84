"""scikit-learn estimators and pipelines by skops: loading builds only types of a list reviewed here, and runs no code out of the file.

skops names its members by memory addresses and stamps them with the time; both are taken out, so that equal fitted models give
equal bytes in every process.
"""

import io
import json
import zipfile
from typing import Any

from mlops_nb.errors import Untrusted
from mlops_nb.store.serializers import Declined
from mlops_nb.store.serializers.arrays import without_padding

# Reviewed with scikit-learn 1.9 and skops 0.16, beyond what skops itself trusts. Each is data, or a function that only computes on its
# arguments: none imports, evaluates, opens or runs what the file names. A hostile tree may still make `predict` read memory
# beside its arrays; it cannot run code when loaded.
TRUSTED = frozenset(
    {
        "functools.partial",
        "numpy.dtype",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._IsotonicCalibration",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        *(f"sklearn.gaussian_process.kernels.{name}" for name in ("ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation")),
        *(f"sklearn.gaussian_process.kernels.{name}" for name in ("Matern", "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel")),
        *(f"sklearn.metrics._dist_metrics.{name}Distance64" for name in ("Chebyshev", "Euclidean", "Manhattan", "Minkowski", "SEuclidean")),
        "sklearn.metrics._scorer._PassthroughScorer",
        *(f"sklearn.model_selection._split.{name}" for name in ("GroupKFold", "KFold", "RepeatedKFold", "RepeatedStratifiedKFold")),
        *(f"sklearn.model_selection._split.{name}" for name in ("ShuffleSplit", "StratifiedKFold", "StratifiedShuffleSplit", "TimeSeriesSplit")),
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    }
)
_SCHEMA = "schema.json"
_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file knows
_UNSHARED = frozenset({"JsonNode", "TypeNode"})  # immutable: whether two of them were one object in memory is chance


def accepts(value: Any) -> bool:
    """Whatever has scikit-learn among its bases; `dump` declines types that are not trusted."""
    from sklearn.base import BaseEstimator

    return isinstance(value, BaseEstimator)


def dump(value: Any) -> bytes:
    """The skops file. Raises Declined where it holds types that are not trusted."""
    import skops.io

    data = canonical(skops.io.dumps(value))
    if foreign := _foreign(data):
        raise Declined(f"skops: {', '.join(foreign)} not on the list of trusted types")
    return data


def load(data: bytes) -> Any:
    """The estimator. Raises Untrusted where the file names types that are not trusted."""
    import skops.io

    if foreign := _foreign(data):
        raise Untrusted(f"the stored estimator holds {', '.join(foreign)}, not on the list of trusted types")
    return skops.io.loads(data, trusted=sorted(TRUSTED))


def _foreign(data: bytes) -> list[str]:
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=data)) - TRUSTED)


def canonical(data: bytes) -> bytes:
    """The same skops file without addresses, times and the memory between the fields of arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w") as after:
        schema = json.loads(before.read(_SCHEMA))
        members: dict[str, str] = {}
        _renumber(schema, {}, members)
        for old, new in members.items():
            _add(after, new, _clean(old, before.read(old)))
        _add(after, _SCHEMA, json.dumps(schema, separators=(",", ":")).encode())
    return buffer.getvalue()


def _renumber(node: Any, numbers: dict[Any, int], members: dict[str, str]) -> None:
    """Give ids and member names in order of appearance; what was one object stays one."""
    if isinstance(node, list):
        for item in node:
            _renumber(item, numbers, members)
    if not isinstance(node, dict):
        return
    if "__loader__" in node and "__id__" in node:
        key = (len(numbers), "unshared") if node["__loader__"] in _UNSHARED else node["__id__"]
        node["__id__"] = numbers.setdefault(key, len(numbers) + 1)
    if "__loader__" in node and isinstance(node.get("file"), str):
        old = node["file"]
        node["file"] = members.setdefault(old, f"{len(members) + 1}.{old.rpartition('.')[2]}")
    for name, item in node.items():
        if name == "_stop_words_id":  # scikit-learn's text vectorizers note an address here, to check their stop words once
            item["content"] = "0"
        _renumber(item, numbers, members)


def _clean(name: str, data: bytes) -> bytes:
    if not name.endswith(".npy"):
        return data
    import numpy as np

    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return data
    buffer = io.BytesIO()
    np.save(buffer, without_padding(array), allow_pickle=False)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _NO_TIME), data)
