"""Checkpoints as they lie on the disk: one in its folder, those of a stage, and the players that a run's workdir holds.

They are written by a run (`kdgan/run/checkpoint.py`), and read by whoever has a path.
"""
