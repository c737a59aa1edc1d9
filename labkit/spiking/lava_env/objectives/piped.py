"""An objective function that is evaluated by another program, at the other end of two pipes.

Every point is written as one line of JSON, ``{"point": [...]}``, and the value is read as one line,
``{"value": ...}``. Lava's processes are forked, so the descriptors stay good in them.

Lava imports every file that lies beside a process class, so this one is alone in its folder.
"""

import json
import os

import numpy as np
from lava.lib.optimization.problems.bayesian.processes import BaseObjectiveFunction
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class PipedObjective(BaseObjectiveFunction):
    """One objective of `num_params` real numbers, asked through two descriptors.

    Parameters
    ----------
    num_params : int
        Dimensions of the search space.
    ask, answer : int
        Descriptors to write points to and to read values from.
    """

    def __init__(self, *, num_params, ask, answer):
        super().__init__(num_params=num_params, num_objectives=1, ask=ask, answer=answer)


@implements(proc=PipedObjective, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyPipedObjectiveModel(PyLoihiProcessModel):
    """Asks once a step and returns the point with its value, as the optimizer expects them."""

    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    y_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    num_params = LavaPyType(int, int)
    num_objectives = LavaPyType(int, int)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._answers = os.fdopen(proc_params["answer"], encoding="utf-8", closefd=False)

    def run_spk(self):
        """Evaluate one point."""
        point = self.x_in.recv()
        question = json.dumps({"point": point[:, 0].tolist()}) + "\n"
        os.write(self.proc_params["ask"], question.encode())
        value = json.loads(self._answers.readline())["value"]
        self.y_out.send(np.vstack([point, [[value]]]))
