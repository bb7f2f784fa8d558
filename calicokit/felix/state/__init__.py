"""Whether Felix and Typha run, are in sync, and with which configuration."""
