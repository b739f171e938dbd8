"""What tests of models that leave their runs share: a cache of encoded examples of their own, and runs without reports."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDTAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        yield
