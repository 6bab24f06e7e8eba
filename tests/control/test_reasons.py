"""Why a replica failed, in a line."""

from __future__ import annotations

import json

import pytest

from fabric.control.hosts.reasons import LIMIT, reason_of

RAY = (
    "The deployment failed to start 3 times in a row. This may be due to a problem with its "
    "constructor or initial health check failing. See controller logs for details. Error:\n"
    "\x1b[36mray::ServeReplica:a:1:specialist.initialize_and_get_metadata()\x1b[39m "
    "(pid=4711, ip=127.0.0.2, actor_id=9b)\n"
    '  File "/usr/lib/python3.11/concurrent/futures/_base.py", line 449, in result\n'
    "    return self.__get_result()\n"
    "           ^^^^^^^^^^^^^^^^^^^\n"
    '  File "/x/ray/serve/_private/replica.py", line 1101, in initialize\n'
    "    raise RuntimeError(traceback.format_exc()) from None\n"
    "RuntimeError: Traceback (most recent call last):\n"
    '  File "/x/ray/serve/_private/replica.py", line 1080, in initialize\n'
    "    await self._user_callable_wrapper.initialize_callable()\n"
    '  File "/x/fabric/runtime/model.py", line 15, in fetch\n'
    '    raise NotFound(f"no file {path}")\n'
    "fabric.core.errors.NotFound: no file /models/a.onnx\n"
)
PYTHON = (
    "Traceback (most recent call last):\n"
    '  File "<frozen runpy>", line 198, in _run_module_as_main\n'
    '  File "/x/m.py", line 3, in load\n'
    "    raise KeyError\n"
    "KeyError\n"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\nlast words\n", "last words"),
        (PYTHON, "KeyError (m.py:3 in load)"),
        (PYTHON + "cleaning up\n", "KeyError (m.py:3 in load)"),
        (RAY, "fabric.core.errors.NotFound: no file /models/a.onnx (model.py:15 in fetch)"),
        (
            json.dumps({"message": "cannot open the model", "exception": PYTHON}),
            "KeyError (m.py:3 in load)",
        ),
        (json.dumps({"level": "error", "message": "no such model"}), "no such model"),
        ("{not json\n", "{not json"),
        ("x" * 5000, "x" * LIMIT),
    ],
)
def test_the_reason_is_what_was_raised_last_and_where(text, reason):
    """Colours, frames and wrappers are left out; without a traceback the last line says it."""
    assert reason_of(text) == reason
