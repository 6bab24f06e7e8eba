"""The assembly: builds a fabric out of processes and supervises them."""

from fabric.app.fabric import Fabric, FabricSettings

__all__ = ["Fabric", "FabricSettings"]
