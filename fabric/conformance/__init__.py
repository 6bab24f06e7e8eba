"""A conformance suite of the Open Inference Protocol v2, for any server that speaks it."""
