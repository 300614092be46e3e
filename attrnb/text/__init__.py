"A number for each token of a text: the names of all rooms of the wing"

from attrnb._rooms import names_behind
from attrnb.text.embedding import *
from attrnb.text.figures import *
from attrnb.text.tokens import *

__getattr__ = names_behind(__name__)
