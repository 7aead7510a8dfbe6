"""What is left of a net sees training images before it is judged or taught: its batch norms were another net's."""

from __future__ import annotations

import torch

from edgekd.data.dataset import Dataset
from edgekd.data.stages import Preprocess
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.prune.cut import see_norms
from edgekd.prune.ladder import BATCH, some_images
from edgekd.prune.places import units_of
from edgekd.prune.stages import Cut
from edgekd.prune.structure import pruned

SHAPE = NetShape(stem_width=8, widths=((16, 8), (16, 16)), strides=(1, 2))


def test_batch_norms_of_what_is_left_are_those_of_its_own_channels_on_training_images(digits: Artifact) -> None:
    data, settings = Dataset(digits), Cut(preprocess=Preprocess(), images=2 * BATCH, threads=1)
    whole = checkpoint.build(SHAPE, data.labels, 1, seed=0)
    inner = units_of(SHAPE)[0]
    model = pruned(whole, {inner.name: torch.arange(4, 12)})
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    see_norms(model, data, settings)
    after = {name: value.clone() for name, value in model.net.state_dict().items()}
    changed = {name.rsplit(".", 1)[1] for name, value in after.items() if not torch.equal(before[name], value)}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}  # and nothing that was learnt
    assert not model.net.training
    seen = []
    norm = model.net.get_submodule("blocks.0.bn1")
    norm.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    model.net.train()
    with torch.no_grad():
        for batch in some_images(data, settings.images, settings.seed, settings.preprocess).split(BATCH):
            model.net(batch)
    assert seen[0].shape[1] == 8
    mean, variance = (torch.stack([getattr(x, what)((0, 2, 3)) for x in seen]).mean(0) for what in ("mean", "var"))
    for what, value in (("mean", mean), ("var", variance)):  # torch sums in another order
        torch.testing.assert_close(after[f"blocks.0.bn1.running_{what}"], value, rtol=1e-3, atol=1e-3)
