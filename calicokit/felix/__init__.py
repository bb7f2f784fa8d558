"""Felix and Typha: their metrics, configuration and health."""
