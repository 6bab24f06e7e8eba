"""Nouns: what every other part of fabric talks about. No I/O, no libraries but numpy."""
