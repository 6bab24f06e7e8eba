"""tritonclient's messages under the module that they name, so that Ray can pickle them."""

from tritonclient.grpc.service_pb2 import *  # noqa: F403
