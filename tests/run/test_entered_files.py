"""How many files of kdgan/ a reader has to open to follow one batch from its drawing to its loss."""

import pathlib
import sys

import jax

import kdgan
from configs import quickstart
from kdgan.run import batches, build, costs
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve

ROOT = pathlib.Path(kdgan.__file__).parent


def entered(function):
    """The files of kdgan/ of which some function is called until the value that a gradient is taken of is known."""
    files, done = [], False

    def look(frame, event, argument):
        nonlocal done
        path = pathlib.Path(frame.f_code.co_filename)
        if done or ROOT not in path.parents:
            return
        if event == "call" and path not in files:
            files.append(path)
        done = event == "return" and frame.f_code.co_name == "objective"

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        function()
    finally:
        sys.setprofile(before)
    assert done
    return [str(path.relative_to(ROOT)) for path in files]


def test_a_batch_of_the_quickstart_meets_ten_files_from_its_drawing_to_its_loss():
    """A batch of a stream that is open, in the step of soft labels, which is traced on it for the first time.

    Left out is what goes on around it: the loop over steps, the way in which members run, the optimizer.
    """
    config = quickstart.get_config()
    config.population.seeds = 1
    run = resolve(config)
    inputs, stage = run_inputs.load(run), run.stages[1]
    program = next(program for program in build.stage_programs(run, stage, inputs) if "kd" in program.arms)
    stream = batches.batches(
        inputs, seed=run.seed, stage=1, batch_size=program.batch_size, start=0, steps=2, views=program.views
    )
    next(stream)
    step, state, arrays = jax.jit(build.make_step(run, program)), costs.state_shapes(program), inputs.device_arrays()
    files = entered(lambda: step.trace(state, next(stream), arrays))
    assert {"run/batches.py", "step.py", "methods/logits.py", "losses/logits.py"} <= {*files}
    assert len(files) <= 10, files
