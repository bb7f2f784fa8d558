"""Widgets that wrap analyses for notebooks. Each has a static twin in the notebook, as none survives an export."""
