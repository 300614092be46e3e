"Geodesic Integrated Gradients: paths of least resistance through a pool of points, or relaxed from a straight line"

from attrnb._rooms import names_behind
from attrnb.geodesic.integrals import *
from attrnb.geodesic.answer import *
from attrnb.geodesic.graph import *
from attrnb.geodesic.pool import *
from attrnb.geodesic.routes import *
from attrnb.geodesic.knn import *
from attrnb.geodesic.versions import *
from attrnb.geodesic.slopes import *
from attrnb.geodesic.relax import *
from attrnb.geodesic.search import *
from attrnb.geodesic.family import *
from attrnb.geodesic.published import *
from attrnb.geodesic.path import *

__getattr__ = names_behind(__name__)  # old private and machine names can still be imported from the wing
