"""Images of OpenStack's Glance (Image API v2) as a store of blobs."""
