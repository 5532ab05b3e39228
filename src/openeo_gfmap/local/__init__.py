"""The embedded openEO back-end: a real openEO HTTP service over STAC and COG.

It imports nothing of the client side, and the client side imports nothing of it: the two
meet only over HTTP, so a test against it walks the same road as production. Start it with
``gfmap serve`` or :func:`openeo_gfmap.backend.local_connection`.
"""
