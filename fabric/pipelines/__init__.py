"""Pipelines: written in Python, checked before they run, and run."""
