"""The Kubernetes objects that Calico's state is made from."""
