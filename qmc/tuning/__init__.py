"""Measured choices: what is best on a machine is found by running it there."""
