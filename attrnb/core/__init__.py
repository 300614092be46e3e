"What is explained, and how its gradient is taken; written by hand"

from attrnb._rooms import names_behind
from attrnb.core.messages import *
from attrnb.core.checks import *
from attrnb.core.features import *
from attrnb.core.randomness import *
from attrnb.core.outputs import *
from attrnb.core.scores import *
from attrnb.core.targets import *
from attrnb.core.model_state import *
from attrnb.core.probes import *
from attrnb.core.lost_gradient import *
from attrnb.core.arguments import *
from attrnb.core.chunks import *
from attrnb.core.target_score import *
from attrnb.core.attribution import *
from attrnb.core.layers import *
from attrnb.core.findings import *

__getattr__ = names_behind(__name__, bootstrap_interval="attrnb.statistics")
