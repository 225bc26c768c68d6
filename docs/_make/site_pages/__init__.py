"""Reference pages: one file for each kind, which gives `pages()`, the text of every page by its name."""
