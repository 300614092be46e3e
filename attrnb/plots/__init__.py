"Pictures of attributions: colours, maps, pictures under maps, curves, landscapes, bars, and pictures with a slider"

from attrnb._rooms import names_behind
from attrnb.plots.bars import *
from attrnb.plots.figures import *
from attrnb.plots.images import *
from attrnb.plots.landscapes import *
from attrnb.plots.lines import *
from attrnb.plots.maps import *
from attrnb.plots.slider import *

__getattr__ = names_behind(__name__)
