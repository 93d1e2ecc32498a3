"""Protocol v1 phrased over the registry, as docker 0.5 to 1.9 speak it."""
