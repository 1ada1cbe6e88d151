"""Super-resolution: networks, data, metrics, protocol, training tasks."""
