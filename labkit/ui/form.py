"""The parameters cell of a notebook as a form: change values, apply them, or run them in batch."""

from __future__ import annotations

import html
import inspect
import os
import shlex
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from labkit.batch.notebooks import resolve
from labkit.batch.parameters import Parameter, check, read_parameters
from labkit.batch.runs import RunStatus
from labkit.errors import ParameterError
from labkit.ui.batch_run import BatchRun, runs_folder, shell_command
from labkit.ui.blocks import GRAY, GREEN, RED, Panel, line, show_html
from labkit.ui.controls import UNSET, Control

NAME_WIDTH = "130px"


def parameter_form(
    namespace: MutableMapping[str, Any],
    notebook: str | Path = "oversampling",
    rerun: Callable[..., object] | None = None,
    *,
    names: Sequence[str] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    out: str | Path | None = None,
) -> ParameterForm:
    """Form for the parameters of a notebook.

    Parameters
    ----------
    namespace : mutable mapping
        The notebook's ``globals()``: current values are read from it, applied values written to it.
    notebook : str or Path
        Study name or path of the notebook whose parameters cell is shown.
    rerun : callable, optional
        Called after values were applied, with all of them as keywords, or only with those that
        its signature names. What it prints, displays or returns appears under the form. Without
        it the form asks to run the cells below.
    names : sequence of str, optional
        Show only these parameters; the others keep their values.
    bounds : mapping of str to (low, high), optional
        Show these numbers as sliders.
    out : str or Path, optional
        Folder for runs started with *Run in batch*; the notebook's in `runs_folder` by default.

    Returns
    -------
    ParameterForm

    Raises
    ------
    ParameterError
        No such notebook, no parameters in it, or `names` or `bounds` name an unknown one.
    """
    return ParameterForm(namespace, notebook, rerun, names=names, bounds=bounds, out=out)


class ParameterForm(Panel):
    """See `parameter_form`; ``values`` holds what the controls show, checked."""

    def __init__(
        self,
        namespace: MutableMapping[str, Any],
        notebook: str | Path,
        rerun: Callable[..., object] | None = None,
        *,
        names: Sequence[str] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        out: str | Path | None = None,
    ) -> None:
        self._namespace = namespace
        self._name = str(notebook)
        self._path = resolve(notebook)
        self._rerun = rerun
        self._run: BatchRun | None = None
        self._out = Path(out) if out is not None else runs_folder() / self._path.stem
        self._parameters = read_parameters(self._path)
        self._refuse_unknown(names, bounds)
        shown = list(self._parameters) if names is None else list(names)
        self.controls = {
            name: Control(self._parameters[name], (bounds or {}).get(name)) for name in shown
        }
        self._take_current_values()
        self._build()

    @property
    def values(self) -> dict[str, Any]:
        """Values of all shown parameters.

        Raises
        ------
        ParameterError
            A control holds something that its parameter may not be.
        """
        given = {name: control.value for name, control in self.controls.items()}
        given = {name: value for name, value in given.items() if value is not UNSET}
        checked = check(self._parameters, given, notebook=self._name)
        return {name: checked[name] for name in given}

    @property
    def overrides(self) -> dict[str, Any]:
        """Values that differ from the notebook's defaults, those of hidden parameters included."""
        values = {**self._hidden_values(), **self.values}
        return {
            name: value
            for name, value in values.items()
            if self._parameters[name].computed or value != self._parameters[name].default
        }

    @property
    def shell_line(self) -> str:
        """Command that runs the notebook with these values."""
        return shlex.join(["labkit", *shell_command(self._name, self.overrides)])

    def text(self) -> str:
        """Names, values and help as lines of text, then the command."""
        width = max(len(name) for name in self.controls)
        rows = [
            f"  {name:<{width}} = {control.text():<16} {control.parameter.help}".rstrip()
            for name, control in self.controls.items()
        ]
        return "\n".join([f"Parameters of {self._name}", *rows, f"  $ {self._command_text()}"])

    def apply(self) -> bool:
        """Check the values, write them to the notebook's globals and call ``rerun``.

        Returns
        -------
        bool
            False when a value was refused; the form then says which and why.
        """
        try:
            values = self.values
        except ParameterError as exc:
            self._say(str(exc), RED)
            return False
        before = {name: self._namespace.get(name, UNSET) for name in values}
        changed = [name for name in values if before[name] != values[name]]
        self._namespace.update(values)
        listed = ", ".join(f"{name} = {values[name]!r}" for name in changed) or "no change"
        if self._rerun is None:
            self._say(f"Applied: {listed}. Now run the cells below this form.", GREEN)
            return True
        return self._call_rerun(values, listed)

    def run_in_batch(self) -> BatchRun | None:
        """Start the same run headless and return it; None when a value was refused."""
        try:
            run = BatchRun(self._name, self._path, self.overrides, self._out)
            self._run = run
            run.start(self._show_run)
        except (ParameterError, OSError) as exc:
            self._say(str(exc), RED)
            return None
        return run

    def stop(self) -> None:
        """Stop the batch run that was started last."""
        if self._run is not None:
            self._run.stop()

    def reset(self) -> None:
        """Show the notebook's defaults again; nothing is applied."""
        for control in self.controls.values():
            control.show(control.parameter.default)
        self._say("Defaults are shown; press Apply to use them.", GRAY)

    def _refuse_unknown(
        self, names: Sequence[str] | None, bounds: Mapping[str, tuple[float, float]] | None
    ) -> None:
        asked = dict.fromkeys([*(names or ()), *(bounds or {})])
        check(self._parameters, {name: self._default(name) for name in asked}, notebook=self._name)
        if not self._parameters:
            raise ParameterError(
                f"{self._path.name} has no parameters; tag the cell that defines them 'parameters'."
            )

    def _default(self, name: str) -> Any:
        return self._parameters[name].default if name in self._parameters else None

    def _take_current_values(self) -> None:
        """Show what the notebook holds now, where that is a value the parameter may have."""
        for name, control in self.controls.items():
            if name in self._namespace and not control.parameter.computed:
                try:
                    control.show(control.parameter.type.accept(self._namespace[name]))
                except ValueError:
                    continue

    def _hidden_values(self) -> dict[str, Any]:
        hidden = [name for name in self._parameters if name not in self.controls]
        return {
            name: self._namespace[name]
            for name in hidden
            if name in self._namespace and not self._parameters[name].computed
        }

    def _build(self) -> None:
        self.message = widgets.HTML().add_class("labkit-form-message")
        self.command = widgets.HTML().add_class("labkit-form-command")
        self.output = widgets.Output().add_class("labkit-form-output")
        self.run_output = widgets.Output().add_class("labkit-form-run")
        self.apply_button = widgets.Button(
            description="Apply", button_style="primary", icon="check"
        ).add_class("labkit-apply")
        self.batch_button = widgets.Button(
            description="Run in batch", icon="play", tooltip="the same run, headless"
        ).add_class("labkit-batch")
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", tooltip="stop the batch run", disabled=True
        ).add_class("labkit-stop")
        reset = widgets.Button(description="Defaults", icon="undo").add_class("labkit-reset")
        self.apply_button.on_click(lambda _: self.apply())
        self.batch_button.on_click(lambda _: self.run_in_batch())
        self.stop_button.on_click(lambda _: self.stop())
        reset.on_click(lambda _: self.reset())
        for control in self.controls.values():
            control.widget.observe(lambda _: self._show_command(), names="value")
        buttons = widgets.HBox([self.apply_button, reset, self.batch_button, self.stop_button])
        rows = [_row(control) for control in self.controls.values()]
        super().__init__(
            [*rows, buttons, self.message, self.command, self.run_output, self.output],
            layout=widgets.Layout(
                border="1px solid #c9c9c9", padding="10px 12px", max_width="860px"
            ),
        )
        self.add_class("labkit-parameter-form")
        self._show_command()

    def _command_text(self) -> str:
        try:
            return self.shell_line
        except ParameterError as exc:
            return f"# {exc}"

    def _show_command(self) -> None:
        self.message.value = ""
        text = html.escape(self._command_text())
        self.command.value = (
            f'<code style="color:{GRAY};white-space:pre-wrap;word-break:break-word">$ {text}</code>'
        )

    def _say(self, text: str, color: str) -> None:
        self.message.value = line(text, color, bold=color == RED)

    def _call_rerun(self, values: Mapping[str, Any], listed: str) -> bool:
        assert self._rerun is not None
        self._say(f"Running with {listed} ...", GRAY)
        self.apply_button.disabled = True
        self.output.clear_output()
        try:
            with _Captured(self.output):
                result = self._rerun(**_accepted(self._rerun, values))
                if result is not None:
                    display(result)  # type: ignore[no-untyped-call]
        except Exception as exc:  # noqa: BLE001 - the notebook's own code may raise anything
            self._say(f"{type(exc).__name__}: {exc}", RED)
            return False
        finally:
            self.apply_button.disabled = False
        self._say(f"Applied: {listed}.", GREEN)
        return True

    def _show_run(self, run: BatchRun) -> None:
        if run is not self._run:
            return
        status = run.status
        color = {RunStatus.completed: GREEN, RunStatus.failed: RED}.get(status, GRAY)
        text = f"batch run {status.value}, {run.seconds:.0f} s"
        if run.ended and status != RunStatus.completed:
            text += f": {run.last_words()}"
        link = _link(run.result) if run.ended else ""
        self.stop_button.disabled = run.ended
        show_html(self.run_output, line(text, color) + link, text)


class _Captured:
    """Let an output area show what a block prints and displays; errors go on to the caller."""

    def __init__(self, output: widgets.Output) -> None:
        self._output = output

    def __enter__(self) -> None:
        self._output.__enter__()

    def __exit__(self, *error: object) -> None:
        self._output.__exit__(None, None, None)


def _accepted(function: Callable[..., object], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that a function's signature takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(values)
    named = {parameter.name for parameter in parameters}
    return {name: value for name, value in values.items() if name in named}


def _row(control: Control) -> widgets.HBox:
    parameter: Parameter = control.parameter
    name = widgets.HTML(f"<code>{html.escape(parameter.name)}</code>")
    name.layout.width = NAME_WIDTH
    help_text = widgets.HTML(line(parameter.help))
    help_text.layout.flex = "1 1 auto"
    return widgets.HBox([name, control.widget, help_text])


def _link(notebook: Path | None) -> str:
    """Link that JupyterLab opens, relative to the notebook's folder, and the path in words."""
    if notebook is None:
        return ""
    path = os.path.relpath(notebook)
    return f' <a href="{html.escape(path, quote=True)}">open {html.escape(path)}</a>'
