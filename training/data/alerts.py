"""Alert files -> the layout: each object as its latest alert, merged with its earlier ones, tells it."""
