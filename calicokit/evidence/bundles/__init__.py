"""Support bundles and folders of saved outputs as a source."""
