"""Trained players as files that other programs run."""
