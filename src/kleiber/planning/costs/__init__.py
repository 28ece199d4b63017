"""The costs: each Cost of a module here, and each public function that returns one, is found.

``kleiber.cost`` has them by their names, and so have the command line and ``kleiber list costs``.
A function that takes ``**options`` says in ``OPTIONS`` of its module which, and their kinds.
"""
