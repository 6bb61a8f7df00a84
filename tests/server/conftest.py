"""pytest-jupyter's fixtures: a Jupyter server in the test's own event loop."""

from pytest_jupyter.jupyter_server import *  # noqa: F403 (its fixtures and its hook for coroutines)
