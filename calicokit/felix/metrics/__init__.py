"""What Felix, Typha and kube-controllers count, as tables, rates and pictures."""
