"""What several tests share: the `--slow` switch and fixed seeds."""

import random

import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def prepare(tmp_path):
    """`prepare(source, root=..., **settings)`: see `support.prepared.prepare_into`."""
    from support.prepared import prepare_into

    def prepare_source(source, root=tmp_path, **settings):
        return prepare_into(root, source, **settings)

    return prepare_source
