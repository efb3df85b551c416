"""The sandbox provider: a small OpenAI-compatible upstream that costs nothing to run."""
