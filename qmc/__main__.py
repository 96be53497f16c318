"""``python -m qmc`` is ``qmc``."""

from qmc.cli import main

main()
