"""What kubectl and calicoctl print, and the CNI plugin's configuration."""
