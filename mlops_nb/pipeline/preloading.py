"""Which modules a fork server may import for some code: those of installed packages, never a file of the user's."""

import ast
import importlib.machinery
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from mlops_nb.pipeline.wiring import statements

_STORED_WITH = {"pandas": ("pyarrow.parquet",), "sklearn": ("pyarrow.parquet", "skops.io")}  # what the store imports for a package's values


def modules_of(sources: Iterable[str], places: Iterable[Path]) -> tuple[str, ...]:
    """The modules that plain Python imports, dotted, in order; none whose package lies in one of `places`, where the user's own are.

    >>> modules_of(["import json.tool as t", "from zoneinfo import ZoneInfo\\nimport no_such_module"], [])
    ('json.tool', 'zoneinfo')
    """
    own = tuple(places)
    return tuple(name for name in dict.fromkeys(_imported(sources)) if _is_installed(name.partition(".")[0], own))


def stored_with(modules: Iterable[str]) -> tuple[str, ...]:
    """What the artifact store imports for the values of `modules`.

    >>> stored_with(["sklearn.ensemble"])
    ('pyarrow.parquet', 'skops.io')
    """
    packages = {name.partition(".")[0] for name in modules}
    wanted = dict.fromkeys(name for package, names in _STORED_WITH.items() if package in packages for name in names)
    return tuple(name for name in wanted if _is_in_site_packages(name.partition(".")[0]))


def _imported(sources: Iterable[str]) -> Iterator[str]:
    for source in sources:
        for statement in statements(source):
            for node in ast.walk(statement):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module


def _is_installed(package: str, own: tuple[Path, ...]) -> bool:
    if package in ("mlops_nb", "__main__") or any((place / package).is_dir() or (place / f"{package}.py").is_file() for place in own):
        return False
    return package in sys.stdlib_module_names or _is_in_site_packages(package)


@lru_cache(maxsize=1000)
def _is_in_site_packages(package: str) -> bool:
    paths = sysconfig.get_paths()
    return importlib.machinery.PathFinder.find_spec(package, [paths["purelib"], paths["platlib"]]) is not None
