"""Write-ups: a notebook, executed on a source, as one page that needs nothing else."""
