"""The inference engine, a process of its own: one batch over one base model in which every sequence may
carry its own adapter, soft prompt and text."""
