"Methods times measures times images, in a run folder that can be killed and goes on"

from attrnb._rooms import make_callable, names_behind
from attrnb.benchmark.data import *
from attrnb.benchmark.folder import *
from attrnb.benchmark.identity import *
from attrnb.benchmark.plan import *
from attrnb.benchmark.report import *
from attrnb.benchmark.rows import *
from attrnb.benchmark.run import *
from attrnb.benchmark.team import *
from attrnb.benchmark.trial import *
from attrnb.benchmark.units import *
from attrnb.measures.registry import *

__getattr__ = names_behind(
    __name__,
    Method="attrnb.methods",
    METHODS="attrnb.methods",
    attribute_by_name="attrnb.methods",
    check_method="attrnb.methods",
    last_feature_map="attrnb.methods",
    parse_names="attrnb.methods",
)
make_callable(__name__)
