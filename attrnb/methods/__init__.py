"What a method is, which there are, and how one is applied: the names of all rooms of the wing"

from attrnb._rooms import names_behind
from attrnb.methods.settings import *
from attrnb.methods.scored import *
from attrnb.methods.method import *
from attrnb.methods.captum import *
from attrnb.methods.floors import *
from attrnb.methods.registry import *
from attrnb.methods.apply import *
from attrnb.methods.quantus import *

__getattr__ = names_behind(__name__)
