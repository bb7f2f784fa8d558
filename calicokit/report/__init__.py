"""Write-ups: a notebook, executed on a source, as one page that needs nothing else."""

from calicokit.quick_import import without_iris

without_iris()
