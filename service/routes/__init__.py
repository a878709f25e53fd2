"""One module of routes a resource."""
