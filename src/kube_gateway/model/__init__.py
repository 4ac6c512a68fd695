"""Frozen values that cross every boundary: pods, settings, identities, flows. No I/O, no imports of ours but errors."""
