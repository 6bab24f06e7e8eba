"""The front door: HTTP/2, HTTP/1.1 and REST at one port. Imports neither ray nor onnxruntime."""
