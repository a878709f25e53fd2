"""The OpenAI-compatible surface: requests as clients send them, answers as they expect them."""
