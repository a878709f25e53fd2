"""The HTTP service: a request becomes a configuration, a prompt, a place in the engine and an answer."""
