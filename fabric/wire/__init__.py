"""Between fabric's nouns and the bytes of its protocols; no I/O."""
