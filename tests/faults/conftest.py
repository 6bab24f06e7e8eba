"""A fabric of real processes to break, and what is written down of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from counting import counted
from on_ray import OnRay, Traffic, Watched, watching

from fabric import AsyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from counting import Count


class Story:
    """What is printed of a run, line by line, as it goes."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, line: str) -> None:
        with self._capsys.disabled():
            sys.stdout.write(f"\n    {line}")
            sys.stdout.flush()


@pytest.fixture
def story(capsys: pytest.CaptureFixture[str]) -> Story:
    return Story(capsys)


@pytest.fixture
def told(
    story: Story, record_property: Callable[[str, object], None]
) -> Callable[[str, Traffic], Count]:
    """Counts what became of the requests during a fault, for the table in README.md."""

    def tell(fault: str, traffic: Traffic, **said: object) -> Count:
        count = counted(traffic, **said)
        record_property(fault, count)
        story(f"{fault}: {count}")
        return count

    return tell


@pytest.fixture(scope="session")
def on_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """A fabric on the local host: two replicas of `double`, one of `triple`."""
    folder = tmp_path_factory.mktemp("on-local")
    with OnRay(folder, host="local", doubles=2) as started:
        yield started


@pytest.fixture
async def local_client(on_local: OnRay) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(on_local.server) as made:
        yield made


@pytest.fixture
async def seen(local_client: AsyncClient) -> AsyncIterator[Watched]:
    """The catalog of the fabric on the local host."""
    async with watching(local_client) as made:
        yield made
