"""Recorders that write what they saw to a file, in one piece.

Lava's Monitor sends its data back number by number through two channels, which for the learned
weights of a citation graph takes longer than the run itself. These write an ``.npy`` file from
their own process after the last step. The values are taken in the same phases as Lava's Monitor
takes them: spikes when they are sent, variables after the learning of the step.

Lava imports every file that lies beside a process class, so this one is alone in its folder.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class SpikeRecorder(AbstractProcess):
    """What one output port sends in each of `steps` steps, written to `file`."""

    def __init__(self, *, port, steps, file):
        super().__init__(shape=port.shape, steps=steps, file=file)
        self.spikes = InPort(shape=port.shape)
        port.connect(self.spikes)


class StateRecorder(AbstractProcess):
    """The value of one variable after each of `steps` steps, written to `file`."""

    def __init__(self, *, variable, steps, file):
        super().__init__(shape=variable.shape, steps=steps, file=file)
        self.state = RefPort(shape=variable.shape)
        self.state.connect_var(variable)


class _Writer(PyLoihiProcessModel):
    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._steps = proc_params["steps"]
        self._data = np.zeros((self._steps, *proc_params["shape"]), dtype=np.int32)

    def _keep(self, values):
        self._data[self.time_step - 1] = values
        if self.time_step == self._steps:
            np.save(self.proc_params["file"], self._data)


@implements(proc=SpikeRecorder, protocol=LoihiProtocol)
@requires(CPU)
class PySpikeRecorderModel(_Writer):
    """Receives in the spiking phase."""

    spikes: PyInPort = LavaPyType(PyInPort.VEC_DENSE, int)

    def run_spk(self):
        """Keep the spikes of this step."""
        self._keep(self.spikes.recv())


@implements(proc=StateRecorder, protocol=LoihiProtocol)
@requires(CPU)
class PyStateRecorderModel(_Writer):
    """Reads in the management phase after learning."""

    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, int)

    def post_guard(self):
        """Ask for the phase in every step."""
        return True

    def run_post_mgmt(self):
        """Keep the values of this step."""
        self._keep(self.state.read())
