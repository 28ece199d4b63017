"""Parameters, FLOPs and memory of a decoder transformer, term by term, in a stated convention.

Symbols: w width, l depth, v vocabulary, t context, a width of all query heads, k width of all key
heads, f units of a feed-forward layer, m its matrices (3 with a gate, else 2), E experts of which
each token passes e (without experts both are 1). A product of an (r, s) and an (s, u) matrix is
2 r s u FLOPs. Every quantity may be a number, an array (one entry per model) or an expression of
``formula.py``: the arithmetic is written once for all three. Arrays are counted in float64,
Python integers exactly.
"""

from kleiber.counting.convention import Convention as Convention
from kleiber.counting.convention import chinchilla as chinchilla
from kleiber.counting.convention import conventions as conventions
from kleiber.counting.convention import exact as exact
from kleiber.counting.convention import find_convention as find_convention
from kleiber.counting.convention import kaplan as kaplan
from kleiber.counting.convention import last_layer as last_layer
from kleiber.counting.shape import Quantity as Quantity
from kleiber.counting.shape import Shape as Shape
from kleiber.counting.shape import ShapeRule as ShapeRule
from kleiber.counting.shape import shape_at as shape_at
from kleiber.counting.terms import Memory as Memory
from kleiber.counting.terms import Terms as Terms
from kleiber.counting.terms import count_forward as count_forward
from kleiber.counting.terms import count_memory as count_memory
from kleiber.counting.terms import count_params as count_params
from kleiber.counting.terms import count_training as count_training
from kleiber.counting.width import powers_of_width as powers_of_width
from kleiber.counting.width import solve_width as solve_width
