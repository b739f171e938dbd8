"""A small scenario on the hub (FLAVA, AG News, a subject of MMLU), and a stand-in of the hub that has it."""

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from e2e.conftest import Called, cache, fedtap, no_report
from hub_stand_in import Hub, point_at, served
from paper_hub import paper_hub

__all__ = ["Called", "cache", "fedtap", "no_report"]

FLAVA, NEWS, EXAMS = "facebook/flava-full", "sh0416/ag_news", "cais/mmlu"


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """Return a hub that is not served, to be copied."""
    return paper_hub(tmp_path_factory.mktemp("models"), many=20, names=(NEWS, EXAMS), models=("flava",))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return where this test's client keeps what it fetches."""
    return tmp_path / "home"


@pytest.fixture
def hub(stocked: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub that the test may spoil; it is out of reach after ``hub.close()``."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with served(Hub(copy.deepcopy(stocked.repos))) as hub:
        point_at(hub, home, monkeypatch)
        yield hub


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Return the scenario's file."""
    news = {"name": "news", "type": "classification", "modality": "text", "domain": "news", "source": "ag_news"}
    law = {"name": "law", "type": "text_generation", "modality": "text", "domain": "law"}
    about = {
        "rounds": 1,
        "clients_per_round": 2,
        "local_steps": 1,
        "batch_size": 4,
        "backbone": {"name": "flava", "image_size": 32, "text_tokens": 8},
        "network": {
            "dim": 32,
            "heads": 4,
            "expert_dim": 64,
            "layers": 1,
            "adaptation": "lora",
            "lora_rank": 2,
            "answer_tokens": 4,
        },
        "training": {"finetune_steps": 1},
        "method": {"name": "fedavg_ft"},
        "data": {"split": [0.4, 0.4, 0.2], "train": 8, "validation": 4, "test": 4},
        "evaluation": {"cross_examples": 4, "save": "none"},
        "clients": [
            {"id": "a", "tasks": [news]},
            {"id": "b", "tasks": [news, {**law, "source": "mmlu_professional_law"}]},
        ],
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(about))
    return path


@pytest.fixture
def records(home: Path) -> Callable[[], list[str]]:
    """Return what lists the repositories that count as fetched."""
    return lambda: sorted(os.listdir(home / "fedtap")) if (home / "fedtap").is_dir() else []
