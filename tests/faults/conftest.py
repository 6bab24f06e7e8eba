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

    from counting import Count, Stopped


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
) -> Callable[..., Count | Stopped]:
    """Says what became of requests during a fault, also to the tables in README.md."""

    def tell(fault: str, what: Traffic | Stopped, **said: object) -> Count | Stopped:
        count = counted(what, **said) if isinstance(what, Traffic) else what
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
