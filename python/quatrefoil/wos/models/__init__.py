"""Problems, results and labels, built on the methods of this family. Methods never import this package."""
