"Attribution Equilibrium: relevance that sets positive against negative evidence anew in every layer, on recorded execution"

from attrnb._rooms import names_behind
from attrnb.equilibrium.equations import *
from attrnb.equilibrium.registry import *
from attrnb.equilibrium.contribution import *
from attrnb.equilibrium.tape import *
from attrnb.equilibrium.modules import *
from attrnb.equilibrium.axes import *
from attrnb.equilibrium.recording import *
from attrnb.equilibrium.graph import *
from attrnb.equilibrium.calls import *
from attrnb.equilibrium.operations import *
from attrnb.equilibrium.layers import *
from attrnb.equilibrium.recurrent import *
from attrnb.equilibrium.attention import *
from attrnb.equilibrium.starts import *
from attrnb.equilibrium.walk import *
from attrnb.equilibrium.mixture import *
from attrnb.equilibrium.contrast import *
from attrnb.equilibrium.method import *

__getattr__ = names_behind(__name__)  # old private and machine names can still be imported from the wing
TracedModel = Recording  # its former name
