"""The registry: repositories, tags, manifests, blobs, uploads, referrers. Knows no HTTP."""
