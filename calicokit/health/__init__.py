"""Whether Calico's own components run, and which install and version this is."""
