"""What is built on the methods of this family: problems, results, labels. Methods never import it."""
