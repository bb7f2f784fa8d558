"""What the kernel's own files and sysctl say."""
