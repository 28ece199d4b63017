"""Reports: fits as panels (what to draw: numbers and words only), and panels as figures."""
