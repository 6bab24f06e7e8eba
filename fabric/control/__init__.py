"""The control plane: the catalog over gRPC, its store, and the hosts that run specialists."""
