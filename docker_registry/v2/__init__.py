"""Protocol v2 (OCI distribution) phrased over the registry."""
