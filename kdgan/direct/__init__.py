"""From Python, with what is at hand there and without a config: `kdgan.compare` (compare.py), above runs and their files.

given      a teacher or student as Python hands it over, as a player of a config
presets    the arms that are known by name
compare    a student learned in several ways, and what came of it
"""
