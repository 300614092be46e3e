"Images whose evidence is known by construction, a small network trained on them, and half-moons"

from attrnb._rooms import names_behind
from attrnb.samples.marks import *
from attrnb.samples.moons import *
from attrnb.samples.network import *
from attrnb.samples.shapes import *

_PHOTOGRAPHS = "LoadedModel Normalize find_class load_image load_model to_rgb".split()
__getattr__ = names_behind(__name__, **dict.fromkeys(_PHOTOGRAPHS, "attrnb.photographs"))
