"""The steps in PyTorch, as its users write them: eager, in the layout of channels last, compiled. JAX is not imported.

Ways: "eager"; "channels_last", networks and images in that memory format; "compile", `torch.compile` of each move's
objective (with its backward pass); "compile_channels_last", both; on a GPU "cuda_graphs", `torch.compile` in the mode
`reduce-overhead`. The optimizers are PyTorch's fused ones in all of them.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import pytorch_models
from benchmarks.measure import Contestant
from benchmarks.work import CLASSES, Work

COMPILE = {"compile": "default", "compile_channels_last": "default", "cuda_graphs": "reduce-overhead"}


def ways(work: Work, device: str) -> tuple[str, ...]:
    """The ways that make a difference for a piece of work."""
    layouts = ("eager", "channels_last", "compile", "compile_channels_last") if work.convolves else ("eager", "compile")
    return (*layouts, *(("cuda_graphs",) if device == "cuda" else ()))


def set_precision(name: str) -> None:
    """For matrix products and convolutions alike: "float32" in full, or "tf32" where the device has it."""
    torch.set_float32_matmul_precision({"float32": "highest", "tf32": "high"}[name])
    torch.backends.cudnn.allow_tf32 = name == "tf32"


def has_device(device: str) -> bool:
    return device == "cpu" or torch.cuda.is_available()


def peak_bytes() -> int:
    """Largest memory of the GPU that tensors of this process took."""
    return torch.cuda.max_memory_allocated()


def kd_objectives(work: Work, nets: Mapping[str, nn.Module]) -> dict[str, Callable]:
    weight, temperature = work.lambdas["student"], work.hyperparameters["temperature"]

    def student(image, label):
        s = nets["student"](image)
        with torch.no_grad():
            t = nets["teacher"](image)
        log_q, log_p = F.log_softmax(s / temperature, -1), F.log_softmax(t / temperature, -1)
        kl = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        return weight["ce"] * F.cross_entropy(s, label) + weight["kd"] * temperature**2 * kl

    return {"student": student}


def restore_objectives(work: Work, nets: Mapping[str, nn.Module]) -> dict[str, Callable]:
    weight = work.lambdas["student"]["pixel"]
    return {"student": lambda image, target: weight * F.mse_loss(nets["student"](image), target)}


def kdgan_objectives(work: Work, nets: Mapping[str, nn.Module]) -> dict[str, Callable]:
    temperature = work.hyperparameters["concrete_temperature"]

    def label_of(logits, gumbel):
        relaxed = F.softmax((logits + gumbel) / temperature, -1)
        drawn = F.one_hot((logits + gumbel).argmax(-1), CLASSES).float()
        return drawn + relaxed - relaxed.detach()

    def discriminator(image, label, first, second):
        scores = nets["discriminator"](image)
        with torch.no_grad():
            student, teacher = label_of(nets["student"](image), first), label_of(nets["teacher"](image), second)
        fake = F.softplus(scores)
        real = F.softplus(-scores).gather(1, label[:, None])
        w = work.lambdas["discriminator"]
        of_student, of_teacher = (student * fake).sum(-1), (teacher * fake).sum(-1)
        return w["real"] * real.mean() + w["student"] * of_student.mean() + w["teacher"] * of_teacher.mean()

    def against(me, other):
        def objective(image, label, gumbel):
            own = nets[me](image)
            with torch.no_grad():
                target, scores = nets[other](image), nets["discriminator"](image)
            distance = 0.5 * (own - target).square().sum(-1)
            adv = (label_of(own, gumbel) * -F.softplus(scores)).sum(-1)
            w = work.lambdas[me]
            return w["ce"] * F.cross_entropy(own, label) + w["kd"] * distance.mean() + w["adv"] * adv.mean()

        return objective

    return {
        "discriminator": discriminator,
        "teacher": against("teacher", "student"),
        "student": against("student", "teacher"),
    }


def generator_objectives(work: Work, nets: Mapping[str, nn.Module]) -> dict[str, Callable]:
    def discriminator(image, label, noise):
        with torch.no_grad():
            made, target = nets["student"](noise), nets["teacher"](noise)
        judge, w = nets["discriminator"], work.lambdas["discriminator"]
        real, taught = F.softplus(-judge(image)).mean(), F.softplus(-judge(target)).mean()
        return w["real"] * real + w["teacher"] * taught + w["fake"] * F.softplus(judge(made)).mean()

    def student(image, label, noise):
        made = nets["student"](noise)
        with torch.no_grad():
            target = nets["teacher"](noise)
        adv, w = F.softplus(-nets["discriminator"](made)).mean(), work.lambdas["student"]
        return w["adv"] * adv + w["pixel"] * F.l1_loss(made, target)

    return {"discriminator": discriminator, "student": student}


GAMES = {
    "kd": kd_objectives, "kdgan": kdgan_objectives, "generator_distill": generator_objectives,
    "restore": restore_objectives,
}  # fmt: skip


def forget_compiled() -> None:
    """Every piece of work compiles the same functions anew; past a few times `torch.compile` would run them eagerly."""
    torch.compiler.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True


class Steps:
    """The networks, objectives and optimizers of a piece of work, run in one way.

    Args:
      work: the piece.
      way: see the module.
      device: "cpu" or "cuda".
      variables: player -> Flax variables to start from; None: PyTorch's own initialisation.
    """

    def __init__(self, work: Work, way: str, device: str, variables: Mapping[str, Any] | None = None):
        self.work, self.device = work, device
        self.layout = torch.channels_last if way.endswith("channels_last") else torch.contiguous_format
        latent = work.hyperparameters.get("latent", 0)
        self.nets = {name: pytorch_models.build(model, work.image, latent) for name, model in work.models.items()}
        self.mirrored = {name: model.name in pytorch_models.MIRRORED for name, model in work.models.items()}
        if variables is not None:
            self.load(variables)
        for name, net in self.nets.items():
            net.to(device, memory_format=self.layout).train(name in work.trained).requires_grad_(name in work.trained)
        objectives = GAMES[work.game](work, self.nets)
        self.graphs = way == "cuda_graphs"
        if way in COMPILE:
            forget_compiled()
            objectives = {name: torch.compile(each, mode=COMPILE[way]) for name, each in objectives.items()}
        self.objectives = objectives
        self.optimizers = {name: self._optimizer(name) for name in work.trained}

    def load(self, variables: Mapping[str, Any]) -> None:
        """Give every player its Flax variables; what is compiled stays compiled."""
        for name, net in self.nets.items():
            pytorch_models.load(net, variables[name], self.mirrored[name])

    def _optimizer(self, name: str) -> torch.optim.Optimizer:
        chosen, params = self.work.optimizers[name], self.nets[name].parameters()
        if chosen.name == "adam":
            return torch.optim.Adam(params, chosen.learning_rate, betas=(chosen.momentum, 0.999), fused=True)
        return torch.optim.SGD(params, chosen.learning_rate, momentum=chosen.momentum, fused=True)

    def put(self, batch: Mapping[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """(images [b, c, h, w] in the way's layout, labels or target images) on the device; mirrored as the networks are."""
        image = batch["image"][:, ::-1, ::-1] if any(self.mirrored.values()) else batch["image"]
        if "target" in batch:
            return self._images(image), self._images(batch["target"])
        return self._images(image), torch.from_numpy(batch["label"]).long().to(self.device)

    def _images(self, image: np.ndarray) -> torch.Tensor:
        image = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
        return image.to(self.device).contiguous(memory_format=self.layout)

    def draw(self, player: str) -> tuple[torch.Tensor, ...]:
        """The random numbers of a player's move, as `bare.draw` has them."""
        if self.work.game in ("kd", "restore"):
            return ()
        if self.work.game == "kdgan":
            shape = (self.work.batch, CLASSES)
            count = 2 if player == "discriminator" else 1
            return tuple(-torch.empty(shape, device=self.device).exponential_().log() for _ in range(count))
        return (torch.randn(self.work.batch, self.work.hyperparameters["latent"], device=self.device),)

    def _only_moves(self, player: str) -> None:
        """Of the players that train, this one alone gets gradients."""
        if len(self.work.trained) > 1:
            for name in self.work.trained:
                self.nets[name].requires_grad_(name == player)

    def step(self, image: torch.Tensor, label: torch.Tensor) -> dict[str, torch.Tensor]:
        """All moves; their objectives."""
        losses = {}
        for player, objective in self.objectives.items():
            self._only_moves(player)
            loss = objective(image, label, *self.draw(player))
            self.optimizers[player].zero_grad(set_to_none=True)
            loss.backward()
            self.optimizers[player].step()
            # What a CUDA graph returns is overwritten by the next one.
            losses[player] = loss.detach().clone() if self.graphs else loss.detach()
        return losses

    def gradients(self, batch: Mapping[str, np.ndarray], draws: Mapping[str, Sequence[Any]]):
        """(moving player -> loss, moving player -> gradient as a Flax tree) of every move, at the present weights."""
        losses, found = {}, {}
        image, label = self.put(batch)
        for player, objective in self.objectives.items():
            self._only_moves(player)
            given = [torch.tensor(np.asarray(array), device=self.device) for array in draws[player]]
            loss = objective(image, label, *given)
            params = dict(self.nets[player].named_parameters())
            gradient = torch.autograd.grad(loss, list(params.values()))
            by_name = dict(zip(params, gradient, strict=True))
            found[player] = pytorch_models.in_flax(self.nets[player], by_name, self.mirrored[player])
            losses[player] = float(loss.detach())
        return losses, found

    def on(self, batches: Sequence[Mapping[str, np.ndarray]]) -> Contestant:
        """Steps on batches that lie on the device, over and over."""
        return self.contestant(itertools.cycle([self.put(batch) for batch in batches]))

    def params(self) -> dict[str, Any]:
        """The trained players' parameters as Flax trees."""
        return {
            name: pytorch_models.in_flax(self.nets[name], dict(self.nets[name].named_parameters()), self.mirrored[name])
            for name in self.work.trained
        }

    def contestant(
        self, feed: Iterator[tuple[torch.Tensor, torch.Tensor]], ready: Callable = lambda image: image
    ) -> Contestant:
        """Steps on what `feed` yields, `ready` making images of it."""
        last: list[Any] = [{}]

        def steps(count: int) -> None:
            losses: Mapping[str, torch.Tensor] = {}
            for _ in range(count):
                image, label = next(feed)
                losses = self.step(ready(image), label)
            if self.device == "cuda":
                torch.cuda.synchronize()
            last[0] = {name: float(loss) for name, loss in losses.items()}

        return Contestant(steps, lambda: last[0], self.params)


def make_steps(
    work: Work, way: str, device: str, batches: Sequence[Mapping[str, np.ndarray]], variables: Any = None
) -> Contestant:
    """Steps on batches that lie on the device, over and over."""
    return Steps(work, way, device, variables).on(batches)


def make_epochs(
    work: Work, way: str, device: str, image: np.ndarray, label: np.ndarray, variables: Any, *, loader: bool
) -> Contestant:
    """Steps on batches of a data set: by `DataLoader` from the host, or by random indices into the set on the device."""
    own = Steps(work, way, device, variables)
    images = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    labels = torch.from_numpy(label).long()
    ready = lambda batch: (batch.float() / 255).contiguous(memory_format=own.layout)
    if not loader:
        images, labels = images.to(device), labels.to(device)

        def shuffled():
            while True:
                order = torch.randperm(len(labels), device=device)
                for index in order[: len(order) // work.batch * work.batch].split(work.batch):
                    yield images[index], labels[index]

        return own.contestant(shuffled(), ready)
    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels),
        work.batch,
        shuffle=True,
        drop_last=True,
        pin_memory=device == "cuda",
    )

    def loaded():
        while True:
            for x, y in data:
                yield x.to(device, non_blocking=True), y.to(device, non_blocking=True)

    return own.contestant(loaded(), ready)


def make_evaluation(
    work: Work, player: str, way: str, device: str, variables: Any, image: np.ndarray, label: np.ndarray, batch: int
) -> Callable[[], dict[str, float]]:
    """A function that measures a player on a whole test set -> {"accuracy", "nll"}."""
    own = Steps(work, "channels_last" if way.endswith("channels_last") else "eager", device, variables)
    net = own.nets[player].eval()
    forget_compiled()
    forward = torch.compile(net, mode=COMPILE[way]) if way in COMPILE else net
    parts = []
    for i in range(0, len(image), batch):
        x = torch.from_numpy(np.ascontiguousarray(image[i : i + batch].transpose(0, 3, 1, 2))).to(device)
        parts.append((x.contiguous(memory_format=own.layout), torch.from_numpy(label[i : i + batch]).long().to(device)))

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        right = nll = 0
        for x, y in parts:
            logits = forward(x.float() / 255)
            right = right + (logits.argmax(-1) == y).sum()
            nll = nll + F.cross_entropy(logits, y, reduction="sum")
        return {"accuracy": float(right) / len(image), "nll": float(nll) / len(image)}

    return evaluate


def make_restorer(work: Work, way: str, device: str, variables: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function of one image of bytes [h, w, c] that gives the restored image of bytes."""
    own = Steps(work, "channels_last" if way.endswith("channels_last") else "eager", device, variables)
    net = own.nets["student"].eval()
    forget_compiled()

    def pixels(image: torch.Tensor) -> torch.Tensor:
        made = net((image.float() / 255).contiguous(memory_format=own.layout))
        return (255 * made.clamp(0, 1)).round().byte()

    forward = torch.compile(pixels, mode=COMPILE[way]) if way in COMPILE else pixels

    @torch.no_grad()
    def restore(image: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(image).to(device).permute(2, 0, 1)[None]
        return forward(given)[0].permute(1, 2, 0).cpu().numpy()

    return restore
