"""The openEO processes, one group per file; importing this package registers them all."""
