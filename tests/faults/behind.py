"""A replica that is reached at another address than its own. Run as a script.

It registers at FAULTS_ADDRESS, and writes where it listens as the first line of its output.
"""

from __future__ import annotations

import os
import sys

import fabric.runtime.__main__ as program
from fabric.runtime.replica import Replica


class Behind(Replica):
    async def _serve(self) -> None:
        await super()._serve()
        sys.stdout.write(f"{self.address}\n")
        sys.stdout.flush()
        self.address = os.environ["FAULTS_ADDRESS"]


if __name__ == "__main__":
    program.Replica = Behind
    program.main()
