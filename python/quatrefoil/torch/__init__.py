"""PyTorch: every op of every table as a registered operator with gradients, and the route that picks the cheapest way in."""
