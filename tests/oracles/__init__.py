"""Slow, obviously right answers in float64 or better, by another method than the library's. None of them imports quatrefoil."""
