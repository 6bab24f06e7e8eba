"""Replicas: ONNX Runtime, Python specialists, batching, and the hosts' entry points.

The only importer of ray and onnxruntime.
"""
