"Does an attribution point at what the model used? The names of all rooms of the wing"

from attrnb._rooms import names_behind
from attrnb.measures.axioms import *
from attrnb.measures.class_sensitivity import *
from attrnb.measures.faithfulness import *
from attrnb.measures.floors import *
from attrnb.measures.fractions import *
from attrnb.measures.imputation import *
from attrnb.measures.localisation import *
from attrnb.measures.masking import *
from attrnb.measures.half_moons import *
from attrnb.measures.randomisation import *
from attrnb.measures.registry import *
from attrnb.measures.robustness import *
from attrnb.measures.units import *

__getattr__ = names_behind(__name__, as_quantus="attrnb.methods")
