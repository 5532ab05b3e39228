"""The extraction engine: openEO process graphs over STAC and COG, window by window."""
