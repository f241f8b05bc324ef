"""Models built on the methods: initialisations, structured matrices, and drop-in replacements for other packages."""
