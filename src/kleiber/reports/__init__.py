"""Reports: panels (the numbers and words of a figure), and figures, grids and pages made of
them."""
