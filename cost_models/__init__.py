"""Cost models: what a mapping costs on a machine."""
