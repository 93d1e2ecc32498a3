"""HTTP/1.1, server side, that knows nothing of registries: framing, limits, deadlines, streamed bodies."""
