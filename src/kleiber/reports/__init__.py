"""Reports: from fits and plans to panels (numbers only) and to figures of them."""
