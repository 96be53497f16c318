"""From an integer network and its mappings to C."""
