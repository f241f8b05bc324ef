"""What is built on the methods: initialisations, structured matrices, and this library in place of other packages."""
