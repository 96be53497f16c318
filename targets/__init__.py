"""Machines as data: one YAML file each."""
