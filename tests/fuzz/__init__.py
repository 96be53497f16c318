"""Fuzzing: files damaged at random for every command, and random networks compiled and checked."""
