"""The evaluator: asks any OpenAI-compatible server over HTTP, scores the answers and says what the evidence
supports. Imports only the shared words of `ragtune`."""
