"""The front door: Envoy with our ASGI application in it. Imports neither ray nor onnxruntime."""
