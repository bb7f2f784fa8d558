"""What the CNI plugin says when a pod cannot start."""
