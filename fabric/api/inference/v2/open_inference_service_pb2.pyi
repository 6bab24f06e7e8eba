from fabric.api.inference.v2 import extensions_pb2 as _extensions_pb2
from fabric.api.inference.v2 import open_inference_pb2 as _open_inference_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
