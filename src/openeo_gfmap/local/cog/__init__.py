"""Our own decoder of cloud-optimised GeoTIFFs, and the client that fetches their blocks.

``tiff`` understands a header or leaves the file to GDAL, ``blocks`` inflates, ``http`` gets byte
ranges, ``fetching`` gets many of them at once, ahead of their use.
"""
