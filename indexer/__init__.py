"""Knowledge indexes: read documents, split and embed them, publish immutable versions, search them."""
