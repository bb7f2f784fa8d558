"""The bundled incidents: recordings of real clusters, one ``NAME.tar.xz`` each."""
