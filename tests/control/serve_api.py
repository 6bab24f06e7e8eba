"""Ray Serve's REST API as Ray 2.60 was seen to behave, over real HTTP and without Ray."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PATH = "/api/serve/applications/"
FAILURE = (
    "The deployment failed to start 3 times in a row. Error:\n"
    '\x1b[36mray::ServeReplica()\x1b[39m\n  File "/x/model.py", line 9, in fetch\n'
    "    raise NotFound(path)\nfabric.core.errors.NotFound: no file m.onnx\n"
)


class ServeApi:
    """Applications by name, as a GET has them: `with ServeApi() as api`.

    One whose `arguments` have `fail` fails to deploy, and is tried again only with other `args`;
    any other runs from the second GET on.
    """

    def __init__(self, port: int = 0) -> None:
        self.applications: dict[str, dict[str, Any]] = {}
        self.puts: list[dict[str, Any]] = []
        self.deploys: list[str] = []
        """Names of applications whose replicas were started, or replaced, in order."""
        self.refuse = ""
        """What a PUT is refused with."""
        self._lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, json.dumps(api._seen()))

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if api.refuse:
                    self._answer(400, api.refuse)
                else:
                    api._take(body)
                    self._answer(200, "{}")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, body: dict[str, Any]) -> None:
        with self._lock:
            self.puts.append(body)
            known, self.applications = self.applications, {}
            for config in body["applications"]:
                name = config["name"]
                old = known.get(name)
                if old and old["deployed_app_config"]["args"] == config["args"]:
                    status = old["status"] if old["status"] == "DEPLOY_FAILED" else "DEPLOYING"
                    self.applications[name] = {
                        **old,
                        "status": status,
                        "deployed_app_config": config,
                    }
                    continue
                self.deploys.append(name)
                self.applications[name] = {
                    "status": "DEPLOYING",
                    "message": "",
                    "deployed_app_config": config,
                    "deployments": {},
                }

    def _seen(self) -> dict[str, Any]:
        with self._lock:
            seen = json.loads(json.dumps({"applications": self.applications, "proxies": {}}))
            for application in self.applications.values():
                if application["status"] == "DEPLOYING":
                    _settle(application)
            return seen


def _settle(application: dict[str, Any]) -> None:
    config = application["deployed_app_config"]
    (deployment,) = config["deployments"]
    fails = "fail" in config["args"]["specialist"]["hosting"].get("arguments", {})
    state = "DEPLOY_FAILED" if fails else "RUNNING"
    application["status"] = state
    application["message"] = "Failed to update the deployments ['specialist']." if fails else ""
    application["deployments"] = {
        deployment["name"]: {
            "status": state if fails else "HEALTHY",
            "message": FAILURE if fails else "",
            "target_num_replicas": deployment["autoscaling_config"]["min_replicas"],
        }
    }
