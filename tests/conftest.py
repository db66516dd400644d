"""Fixtures shared by all tests. Tests need no network, and each starts from the same seed."""

import gc
import os
import signal
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: models this small only wait for more

import pytest  # noqa: E402
import torch  # noqa: E402
from tiny_models import move_dam_weights, save_backbone, tiny_config  # noqa: E402
from transformers import set_seed  # noqa: E402

from modeling_hdf import HDFForVideoClassification  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts commands in the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Seeds Python, numpy and torch before each test."""
    set_seed(0)


@pytest.fixture
def clips() -> torch.Tensor:
    """Three clips that fit the tiny models, of shape `(3, 4, 3, 16, 24)`."""
    return torch.randn(3, 4, 3, 16, 24)


@pytest.fixture
def model() -> HDFForVideoClassification:
    """A tiny classifier in evaluation mode with every DAM parameter away from its start value."""
    return move_dam_weights(HDFForVideoClassification(tiny_config())).eval()


@pytest.fixture(scope="session", params=["pretraining", "base", "classification"])
def backbone_checkpoint(request, tmp_path_factory) -> tuple[str, str]:
    """Kind and folder of a tiny VideoMAE checkpoint, once for each kind."""
    return request.param, save_backbone(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def classification_checkpoint(tmp_path_factory) -> str:
    """Folder of a tiny VideoMAE classification checkpoint with five classes."""
    return save_backbone("classification", tmp_path_factory.mktemp("classification"))


@pytest.fixture(scope="module")
def short_garbage_collections() -> Iterator[None]:
    """The Trainer collects garbage in each `train()`, which takes longer than these trainings themselves."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def poisoned_memory():
    """Fills all uninitialised memory with NaN, so that nothing left uninitialised can pass by luck."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(4).isnan().all() and torch.empty_like(torch.ones(4)).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
