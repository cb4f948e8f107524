import pytest

from fetched_sets import server_of_refcoco


@pytest.fixture
def server(monkeypatch):
    with server_of_refcoco(monkeypatch) as server:
        yield server
