"""Logs of Calico's components and of the kernel."""
