"""The CNI plugin: its configuration, and its errors when a pod cannot start."""
