"""LIFLongReset: Lava's fixed-point neuron with a refractory period and a reset of everything.

A documented reconstruction of the neuron named in arXiv 2404.17048. On step t (counted from 1):

1. if ``t % reset_interval == reset_offset % reset_interval``: u = v = 0 and nobody is refractory;
   with ``guard`` the input of this step is thrown away as well and nobody spikes;
2. u and v are updated as in Lava's LIF;
3. v = 0 where ``refractory_end >= t``;
4. a neuron spikes where ``v > vth * 64``; then v = 0 and ``refractory_end = t + refractory``.

The guard is needed because a connection of Lava holds the sum of one step: without it the spikes of
the last step before a reset arrive on the step of the reset.

Lava imports every file that lies beside a process class, so this one is alone in its folder.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import AbstractPyLifModelFixed
from lava.proc.lif.process import LIF


class LIFLongReset(LIF):
    """LIF neurons that rest after a spike and forget everything at preset intervals.

    Parameters
    ----------
    shape : tuple of int
        Number of neurons.
    refractory : int or ndarray of int
        Steps after a spike in which v stays 0.
    reset_interval : int or None
        Steps from one reset to the next; None for no resets.
    reset_offset : int
        A step on which there is a reset; Lava counts steps from 1.
    guard : bool
        Throw away the input of the reset step and let nobody spike on it.
    **lif
        Parameters of Lava's LIF.
    """

    def __init__(
        self, *, shape, refractory=0, reset_interval=None, reset_offset=0, guard=False, **lif
    ):
        super().__init__(shape=shape, **lif)
        self.refractory = Var(shape=shape, init=np.broadcast_to(refractory, shape).copy())
        self.refractory_end = Var(shape=shape, init=0)
        self.proc_params["reset_interval"] = reset_interval
        self.proc_params["reset_offset"] = reset_offset
        self.proc_params["guard"] = guard


@implements(proc=LIFLongReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class PyLIFLongResetModel(AbstractPyLifModelFixed):
    """The steps of the module's description, on Lava's own update of u and v."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    vth: int = LavaPyType(int, np.int32, precision=17)
    refractory: np.ndarray = LavaPyType(np.ndarray, np.int32)
    refractory_end: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.effective_vth = 0

    def scale_threshold(self):
        """Align the threshold with v, as Lava's LIF does."""
        self.effective_vth = np.left_shift(self.vth, self.vth_shift)
        self.isthrscaled = True

    def spiking_activation(self):
        """Tell who spikes."""
        return self.v > self.effective_vth

    def run_spk(self):
        """Make one step."""
        a_in = self.a_in.recv()
        if self._is_reset_step():
            self.u[:] = 0
            self.v[:] = 0
            self.refractory_end[:] = 0
            if self.proc_params["guard"]:
                self.s_out.send(np.zeros(self.v.shape, dtype=bool))
                return
        self.scale_bias()
        if not self.isthrscaled:
            self.scale_threshold()
        self.subthr_dynamics(activation_in=a_in)
        self.v[self.refractory_end >= self.time_step] = 0
        spikes = self.spiking_activation()
        self.reset_voltage(spike_vector=spikes)
        self.refractory_end[spikes] = self.time_step + self.refractory[spikes]
        self.s_out.send(spikes)

    def _is_reset_step(self):
        interval = self.proc_params["reset_interval"]
        if interval is None:
            return False
        return (self.time_step - self.proc_params["reset_offset"]) % interval == 0
