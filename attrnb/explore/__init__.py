"Look, compare, ask, with the mouse: an application inside a notebook, and on localhost"

from attrnb._rooms import make_callable, names_behind
from attrnb.explore.answers import *
from attrnb.explore.app import *
from attrnb.explore.choosers import *
from attrnb.explore.controls import *
from attrnb.explore.findings import *
from attrnb.explore.forms import *
from attrnb.explore.inputs import *
from attrnb.explore.jobs import *
from attrnb.explore.maps import *
from attrnb.explore.panel import *
from attrnb.explore.pictures import *
from attrnb.explore.saving import *
from attrnb.explore.server import *
from attrnb.explore.state import *
from attrnb.explore.texts import *
from attrnb.explore.work import *

_METHODS = "BASELINES Method Parameter baseline describe_parameters".split()
__getattr__ = names_behind(__name__, **dict.fromkeys(_METHODS, "attrnb.methods"))
make_callable(__name__)
