"""Widgets that wrap analyses for notebooks. Each has a static twin in the notebook, as none survives an export."""

from calicokit.quick_import import without_iris

without_iris()
