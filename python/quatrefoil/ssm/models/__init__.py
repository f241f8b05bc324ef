"""Models built on the methods: initialisations, structured matrices, and drop-in replacement of other packages."""
