"""What other servers need to run an ONNX model where they cannot do so themselves.

The modules are written beside the models and imported by those servers, never by fabric.
"""
