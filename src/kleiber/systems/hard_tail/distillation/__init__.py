"""Maths distillation: a student learns arithmetic from a teacher's samples, and is sampled.

The second proxy of the paper's abstract, on a teacher and students that are trained here. A base
model is trained on the easy part of a grammar; a teacher goes on from it on the whole grammar until
it is right about half of the time; a student goes on from the base on N samples of the teacher,
one for each problem drawn; then attempts are sampled at problems whose text nobody was trained on.
"""
