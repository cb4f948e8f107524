"""What `plvl demo` serves: the page, the answers that it shows, and the examples that it offers."""
