"""How long one sequence takes through an LSTM and a linear layer, beside ONNX Runtime and PyTorch where they are
installed: the same weights, a NumPy array in and one out, in turns in one run.

    python bench/lstm_latency.py --units 32 256 --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import lanner as ln
import numpy as np
from lanner import nn

Step = Callable[[], np.ndarray]


class Net(nn.Module):
    def __init__(self, features: int, units: int, outputs: int) -> None:
        self.rnn = nn.LSTM(features, units, batch_first=True)
        self.head = nn.Linear(units, outputs)

    def forward(self, x: ln.Tensor) -> ln.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def compiled(net: Net, x: np.ndarray) -> Step:
    tensor = ln.tensor(x)

    @ln.compile
    def run(x: ln.Tensor) -> ln.Tensor:
        with ln.no_grad():
            return net(x)

    return lambda: run(tensor).numpy()


def predict(net: Net, x: np.ndarray) -> Step:
    model = ln.Model(net)
    return lambda: model.predict(x)


def onnxruntime(net: Net, x: np.ndarray, threads: int) -> Step:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: p.detach().numpy() for name, p in net.named_parameters()}

    def gates(name: str) -> np.ndarray:  # i f g o -> i o f g
        i, f, g, o = np.split(weights[f"rnn.{name}_l0"], 4)
        return np.concatenate([i, o, f, g])[None]

    constants = {
        "w": gates("weight_ih"),
        "r": gates("weight_hh"),
        "b": np.concatenate([gates("bias_ih"), gates("bias_hh")], 1),
        "last": np.array([0]),
        "head": weights["head.weight"],
        "head_bias": weights["head.bias"],
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["by_step"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["by_step", "w", "r", "b"], ["", "h"], hidden_size=net.rnn.hidden_size),
        helper.make_node("Squeeze", ["h", "last"], ["state"]),
        helper.make_node("Gemm", ["state", "head", "head_bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def pytorch(net: Net, x: np.ndarray, threads: int) -> Step:
    import torch

    torch.set_num_threads(threads)
    rnn = torch.nn.LSTM(x.shape[-1], net.rnn.hidden_size, batch_first=True)
    head = torch.nn.Linear(net.rnn.hidden_size, net.head.out_features)
    for ours, theirs in ((net.rnn, rnn), (net.head, head)):
        theirs.load_state_dict(
            {name: torch.from_numpy(p.detach().numpy().copy()) for name, p in ours.named_parameters()}
        )

    def step() -> np.ndarray:
        with torch.inference_mode():
            return head(rnn(torch.from_numpy(x))[0][:, -1]).numpy()

    return step


def measure(step: Step, seconds: float) -> float:
    """Microseconds of the median call."""
    times = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def compare(units: int, args: argparse.Namespace) -> None:
    ln.manual_seed(1)
    net = Net(args.features, units, 10)
    net.eval()
    x = np.random.default_rng(1).standard_normal((1, args.steps, args.features), np.float32)
    steps = {"lanner compiled": compiled(net, x), "lanner predict": predict(net, x)}
    for name, make in (("onnxruntime", onnxruntime), ("torch", pytorch)):
        try:
            steps[name] = make(net, x, args.threads)
        except ModuleNotFoundError as missing:
            print(f"{name}: not measured, {missing}")
    want = steps["lanner compiled"]()
    for name, step in steps.items():
        np.testing.assert_allclose(step(), want, rtol=1e-3, atol=1e-4, err_msg=name)
    rounds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            time.sleep(0.1)  # until the threads of the one before have stopped looking for work
            measure(step, args.seconds / 4)  # caches, and threads awake
            rounds[name].append(measure(step, args.seconds))
    print(
        f"{args.steps} steps, {args.features} features, {units} units, {args.threads} threads: median of rounds (range)"
    )
    ours = statistics.median(rounds["lanner compiled"])
    for name, times in rounds.items():
        t = statistics.median(times)
        print(f"  {name:16}{t:8.1f} us ({min(times):.1f}-{max(times):.1f}), {t / ours:.2f} of lanner compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=ln.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2)
    args = parser.parse_args()
    ln.set_num_threads(args.threads)
    for units in args.units:
        compare(units, args)


if __name__ == "__main__":
    main()
