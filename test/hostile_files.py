# SPDX-License-Identifier: Apache-2.0
"""Files made to do harm, and a process that reads them all: ``python hostile_files.py FOLDER``.

It prints a line of JSON for each: its name, the error or "accepted", and how much memory the
process has taken by then beyond what it had before the first. It may take 1 GiB at all. Whatever
is executed makes a folder FOLDER/executed.
"""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import resource
import struct
import sys
import uuid
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, load_checkpoint, save_checkpoint
from qiskit_torch_bridge.autograd.nodes import EXACT, node_named
from qiskit_torch_bridge.checkpoint import atomic_file, serialization

ALLOWED = 1 << 30
NO_LAYOUT = struct.pack("!?iiiIi", False, -1, -1, -1, 0, 0)
ZERO = b"f", struct.pack("!d", 0)
HUGE = 1 << 40
PARAMETER = struct.pack("!H16s", 1, uuid.UUID(int=1).bytes) + b"x"


class Executed:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


# -- QPY, byte by byte ---------------------------------------------------------------------------


def qpy(body, *, version=13, encoding=b"p", kind=b"q", circuits=1):
    """A file with one circuit."""
    return struct.pack("!6sBBBBQc", b"QISKIT", version, 1, 0, 0, circuits, encoding) + kind + body


def circuit(
    *instructions, qubits=1, clbits=0, phase=ZERO, metadata=b"{}",
    registers=(), custom=(), variables=0, calibrations=b"\0\0", layout=NO_LAYOUT, version=13,
    count=None,
):  # fmt: skip
    """A circuit."""
    numbers = [1, phase[0], len(phase[1]), qubits, clbits, len(metadata), len(registers)]
    numbers.append(len(instructions) if count is None else count)
    header = struct.pack("!H1cHIIQIQ", *numbers)
    if version >= 12:
        header += struct.pack("!I", variables)
    parts = [header, b"c", phase[1], metadata, *registers, struct.pack("!Q", len(custom)), *custom]
    return b"".join([*parts, *instructions, calibrations, layout])


def register(size, indices=()):
    """A quantum register."""
    return (
        struct.pack("!1c?IH?", b"q", True, size, 1, True)
        + b"r"
        + b"".join(struct.pack("!q", i) for i in indices)
    )


def instruction(name, *values, qubits=1, condition=0, controls=0, args=True):
    """An operation with values of certain kinds."""
    numbers = [len(name), 0, len(values), qubits, 0, condition, 0, 0, controls, 0]
    parts = [struct.pack("!HHHIIBHqII", *numbers), name.encode()]
    if args:
        parts += [struct.pack("!1cI", b"q", q) for q in range(min(qubits, 3))]
    for kind, data in values:
        parts.append(struct.pack("!1cQ", kind, len(data)) + data)
    return b"".join(parts)


def _loop(rounds, body):
    """A loop over a range."""
    index = struct.pack("!qqq", 0, rounds, 1)
    return instruction("ForLoopOp", (b"r", index), (b"z", b""), (b"q", body))


def custom(name, definition, *, kind=b"g", qubits=1, controls=0, base=b""):
    """What a name of an operation stands for."""
    name += "_" + "0" * 32
    numbers = [len(name), kind, qubits, 0, definition is not None, len(definition or b"")]
    header = struct.pack("!H1cII?QIIQ", *numbers, controls, 0, len(base))
    return header + name.encode() + (definition or b"") + base


def evolution(operator, synthesis, time=ZERO):
    """An evolution gate's definition."""
    text = json.dumps(synthesis).encode()
    header = struct.pack("!Q?1cQQ", 1, True, time[0], len(time[1]), len(text))
    return header + struct.pack("!Q", len(operator)) + operator + time[1] + text


def expression(*steps, names=(b"x",)):
    """An expression in x, from its steps."""
    payload = b"".join(steps)
    symbols = [struct.pack("!ccQ", b"p", b"p", 0) + PARAMETER for _ in names]
    return b"e", struct.pack("!QQ", len(symbols), len(payload)) + payload + b"".join(symbols)


def step(operation, left=(b"n", b""), right=(b"n", b""), rest=b""):
    """One operation on the stack."""
    return struct.pack("!Bc16sc16s", operation, *left, *right) + rest


def whole(number):
    """An operand."""
    return b"i", struct.pack("!Qq", 0, number)


X = b"p", uuid.UUID(int=1).bytes
SYMBOL = b"p", PARAMETER


def array(shape, data=b"", descr="<f8"):
    """An array in NumPy's format that says what it likes of itself."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + data


def saved(value, *, pickled=False):
    """An array in NumPy's format."""
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=pickled)
    return stream.getvalue()


def nested(depth):
    """Definitions of definitions."""
    inner = circuit(instruction("XGate"))
    for _ in range(depth):
        inner = circuit(instruction("a_" + "0" * 32), custom=[custom("a", inner)])
    return inner


def doubled(times):
    """An expression that doubles with each of a few bytes: x becomes sin(x) + cos(x)."""
    twice = expression(step(5, X), step(6, X), step(0))[1]
    mapping = struct.pack("!Q", 1) + struct.pack("!H1cH", 1, b"e", len(twice)) + b"x" + twice
    substitute = step(15, (b"u", struct.pack("!QQ", len(mapping), 0)), rest=mapping)
    return expression(step(5, X), *[substitute] * times, names=(b"x", b"x"))


def symengine_payload(folder):
    """What symengine executes when it reads an expression; nothing where there is none."""
    try:
        import symengine
        from symengine.lib.symengine_wrapper import load_basic
    except ImportError:
        return b"\0" * 80
    room = "#" * 200

    class Hidden(symengine.Symbol):
        def __init__(self, name):
            super().__init__(name, store_pickle=True)

        def __reduce__(self):
            return str, (room,)

    payload = (Hidden("x") + 1).__reduce__()[1][0]
    begin = payload.rindex(b"\x80", 0, payload.index(room.encode()))
    end = payload.index(b".", payload.index(room.encode())) + 1
    evil = pickle.dumps(Executed(folder))
    assert len(evil) <= end - begin, "choose a folder with a shorter name"
    payload = payload[:begin] + evil + b"." * (end - begin - len(evil)) + payload[end:]
    load_basic(payload)
    folder.rmdir()  # it was made: the payload does what it is to do
    return payload


def circuits(folder):
    """Yield hostile QPY by name."""
    payload = symengine_payload(folder)
    one = struct.pack("!QQ", 1, len(payload)) + payload
    hidden = b"e", one + struct.pack("!ccQ", b"p", b"p", 0) + PARAMETER
    for version in (10, 11, 12, 13, 14):
        for encoding in (b"e", b"p"):
            form = {"version": version, "encoding": encoding}
            name = f"pickle in version {version}{encoding.decode()}"
            turned = instruction("RXGate", hidden)
            body = circuit(turned, version=version)
            yield f"{name}, an angle", qpy(body, **form)
            yield f"{name}, the phase", qpy(circuit(phase=hidden, version=version), **form)
            boxed = instruction("BoxOp", (b"q", body), (b"z", b""), (b"s", b"dt"))
            yield f"{name}, a box", qpy(circuit(boxed, version=version), **form)
            held = [custom("a", body)]
            calling = instruction("a_" + "0" * 32)
            yield (
                f"{name}, a definition",
                qpy(circuit(calling, custom=held, version=version), **form),
            )
            base = custom("b", None, kind=b"a", base=instruction("RXGate", hidden, args=False))
            yield (
                f"{name}, an annotated gate",
                qpy(circuit(instruction("b_" + "0" * 32), custom=[base], version=version), **form),
            )
            evolved = evolution(
                saved(np.array([["X", "1"]])), {"class": "LieTrotter", "settings": {}}, hidden
            )
            name_of_evolution = "###PauliEvolutionGate_1"
            yield (
                f"{name}, a time",
                qpy(
                    circuit(
                        instruction(name_of_evolution + "_" + "0" * 32),
                        custom=[custom(name_of_evolution, evolved, kind=b"p")],
                        version=version,
                    ),
                    **form,
                ),
            )
            schedule = struct.pack("!HQH", 1, 2, 1)
            yield f"{name}, a schedule", qpy(schedule + b"s{}l" + one, kind=b"s", **form)
    for version in (0, 1, 9, 15, 255):
        yield f"version {version}", qpy(circuit(instruction("XGate")), version=version)

    evil = pickle.dumps(Executed(folder))
    hidden = np.array([Executed(folder)], dtype=object)
    kinds = {
        "an array of objects": saved(hidden, pickled=True),
        "a pickle for an array": evil,
        "an archive for an array": _archive("a.npy", saved(hidden, pickled=True)),
        "an array of 10^12": array((10**12,)),
        "an array of 10^12 nothings": array((10**12,), descr="<U0"),
        "an array of negative length": array((-1, -8), b"\0" * 64),
    }
    for name, data in kinds.items():
        yield name, qpy(circuit(instruction("UnitaryGate", (b"n", data))))
        made = evolution(data, {"class": "LieTrotter", "settings": {}})
        yield (
            f"{name}, in an evolution",
            qpy(circuit(custom=[custom("###PauliEvolutionGate_2", made, kind=b"p")])),
        )

    operator = saved(np.array([["X", "1"]]))
    for class_, settings in (
        ("system", {}),
        ("LieTrotter", {"reps": 10**12}),
        ("SuzukiTrotter", {"reps": 1, "order": 400}),
        ("LieTrotter", {"reps": 1e300}),
        ("__class__", {}),
    ):
        made = evolution(operator, {"class": class_, "settings": settings})
        yield (
            f"an evolution by {class_} {settings}",
            qpy(circuit(custom=[custom("###PauliEvolutionGate_3", made, kind=b"p")])),
        )

    element = struct.pack("!HQ16sQ", 1, HUGE, uuid.UUID(int=2).bytes, 0) + b"v"
    large, number = 2**32 - 1, struct.pack("<q", HUGE)
    yield "qubits", qpy(circuit(qubits=large))
    yield "classical bits", qpy(circuit(clbits=large))
    yield "a register", qpy(circuit(registers=[register(large)]))
    yield "instructions", qpy(circuit(count=2**63))
    yield "circuits", qpy(circuit(), circuits=2**63)
    yield "variables", qpy(circuit(variables=large))
    yield "a vector", qpy(circuit(instruction("RXGate", (b"v", element))))
    yield (
        "a vector in an expression",
        qpy(
            circuit(
                instruction(
                    "RXGate",
                    (b"e", struct.pack("!QQ", 1, 0) + struct.pack("!ccQ", b"v", b"v", 0) + element),
                )
            )
        ),
    )
    yield "controls", qpy(circuit(instruction("MCXGate", controls=large)))
    yield "controls of a gate", qpy(circuit(custom=[custom("c", None, kind=b"c", controls=large)]))
    yield (
        "controls of a modifier",
        qpy(circuit(instruction("XGate", (b"m", struct.pack("!1cIId", b"c", large, 0, 0))))),
    )
    yield "qubits of a gate", qpy(circuit(custom=[custom("d", None, qubits=large)]))
    yield "arguments", qpy(circuit(instruction("Barrier", qubits=large)))
    yield "a tuple", qpy(circuit(instruction("UCGate", (b"t", struct.pack("!Q", 2**63)))))
    for name in ("QFTGate", "Barrier", "PermutationGate", "MSGate", "Initialize"):
        yield f"{name} of 2^40", qpy(circuit(instruction(name, (b"i", number))))
    for name in (
        "QFT", "QuantumVolume", "PhaseOracle", "PhaseOracleGate", "ForLoopOp", "WhileLoopOp",
        "Gate", "ControlledGate", "QuantumCircuit", "library", "__loader__", "eval", "no gate", "",
    ):  # fmt: skip
        yield f"the operation {name!r}", qpy(circuit(instruction(name, (b"s", b"(a & b)"))))
    loop = circuit(instruction("XGate"))
    yield "a loop of 2^40 rounds", qpy(circuit(_loop(1 << 40, loop)))
    for _ in range(4):
        loop = circuit(_loop(1 << 10, loop))
    yield "loops in loops", qpy(loop)
    for what, node in {
        "a number of 2^31 bits": b"v" + b"u" + struct.pack("!L", 1 << 31) + b"i\1\1",
        "an unknown classical node": b"?b",
        "an unknown classical type": b"xz",
        "an unknown classical value": b"vbq",
        "an unknown classical variable": b"xbq",
        "an expression nested in itself": b"ub\1" * 100,
    }.items():
        yield what, qpy(circuit(instruction("Store", (b"x", node), (b"x", node))))
    yield "a condition of no kind", qpy(circuit(instruction("WhileLoopOp", condition=3)))
    deep = circuit(instruction("XGate"))
    for _ in range(200):
        deep = circuit(instruction("BoxOp", (b"q", deep), (b"z", b""), (b"s", b"dt")))
    yield "boxes in boxes", qpy(deep, version=14)
    wide = circuit(instruction("BoxOp", (b"q", circuit(qubits=large))))
    yield "qubits of a box", qpy(wide, version=14)
    yield (
        "a circuit that is no box",
        qpy(circuit(instruction("XGate", (b"q", circuit()))), version=14),
    )
    unboxed = circuit(instruction("BoxOp", (b"q", circuit()), (b"z", b""), (b"s", b"dt")))
    yield "a box in version 13", qpy(unboxed)
    yield "a condition", qpy(circuit(instruction("XGate", condition=1)))
    yield "a conditional expression", qpy(circuit(instruction("XGate", condition=2)))
    yield "a circuit as a parameter", qpy(circuit(instruction("RXGate", (b"q", circuit()))))
    yield "a calibration", qpy(circuit(calibrations=b"\0\1"))
    yield (
        "a layout",
        qpy(circuit(layout=struct.pack("!?iiiIi", True, 2**31 - 1, 2**31 - 1, 1, 0, 0))),
    )
    yield (
        "a layout's register",
        qpy(circuit(layout=struct.pack("!?iiiIi", True, 0, 0, 0, 1, 0) + register(large))),
    )
    yield "deep definitions", qpy(nested(200))
    yield "deep text", qpy(circuit(metadata=b"[" * 100_000))
    yield "no text", qpy(circuit(metadata=b"{"))
    yield "bytes at the end", qpy(circuit() + b"\0")

    def angle(*steps, **options):
        return qpy(circuit(instruction("RXGate", expression(*steps, **options))))

    large = 2**62
    yield "a number to a number", angle(step(4, whole(large), whole(large)))
    yield "x to a number", angle(step(2, whole(2), X), step(4, right=whole(large)))
    yield (
        "a number to x to a number",
        angle(step(2, X, whole(0)), step(0, right=whole(large)), step(20, right=whole(3))),
    )
    yield "powers of powers", angle(*[step(4, X, whole(1000)), *[step(4, right=whole(1000))] * 9])
    yield (
        "x to x, and a number for x",
        angle(step(4, whole(3), X), step(15, (b"u", struct.pack("!QQ", 20, 0)), rest=_put(large))),
    )
    yield "a step that never ends", angle(struct.pack("!Bc16sc16s", 255, b"f", b"", b"f", b""))
    yield "an expression that doubles", qpy(circuit(instruction("RXGate", doubled(60))))
    yield "no operands", angle(step(0))
    yield "an operation that is none", angle(step(200, X))
    yield "a derivative", angle(step(2, X, X), step(13, right=X))


def _put(number):
    return struct.pack("!QH1cH", 1, 1, b"i", 8) + b"x" + struct.pack("!q", number)


def _archive(name, data, times=1):
    """An archive of one member, deflated: much in few bytes."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        for _ in range(times):
            member.write(data)
    return stream.getvalue()


# -- checkpoints ---------------------------------------------------------------------------------


def model():
    """A small model with a circuit in it."""
    v, theta = ParameterVector("v", 2), Parameter("theta")
    made = QuantumCircuit(2)
    made.ry(v[0], 0)
    made.crx(2 * v[1] + 0.1, 0, 1)
    made.rz(theta / (v[0] + 1), 1)
    node = TorchQuantumModule(made, "ZZ", input_params=[theta], seed=1)
    return torch.nn.Sequential(torch.nn.Linear(1, 1), node)


def whole_file(payload, version=atomic_file.VERSION):
    """A checkpoint with a right checksum."""
    return atomic_file.make_header(payload, version) + payload


def tree(node, blobs=(), tail=None, length=None):
    """The payload of a checkpoint with any tree in it."""
    text = json.dumps({"blobs": list(blobs), "content": node}).encode()
    if tail is None:
        tail = bytes(sum(n + -n % 64 for n in blobs) if 0 < sum(blobs) < 1 << 20 else 0)
    return struct.pack("<Q", len(text) if length is None else length) + text + tail


def of_tensors(value, **options):
    """What an earlier release had in a checkpoint: a file of torch.save."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def checkpoints(folder, honest):
    """Yield hostile checkpoints by name."""
    whole_states = serialization.unpack(atomic_file.read(honest))

    def with_part(name, value):
        return serialization.pack({**whole_states, name: value})

    for name, data in circuits(folder):
        program = whole_states["programs"]["1"]
        yield (
            f"{name}, in a checkpoint",
            whole_file(with_part("programs", {"1": {**program, "circuit": data, "marks": {}}})),
        )
    for name, text in (
        ("no text", 3),
        ("deep", "[" * 100_000),
        ("other parts", "{}"),
        ("a list", "[]"),
        ("large labels", json.dumps({"observables": [[["Z" * 10, 1]] * 1000]})),
    ):
        program = whole_states["programs"]["1"]
        yield (
            f"a program with {name}",
            whole_file(with_part("programs", {"1": {**program, "program": text, "marks": {}}})),
        )
    yield "no program", whole_file(with_part("programs", {}))
    yield "a program that is none", whole_file(with_part("programs", {"1": None}))
    yield "programs that are none", whole_file(with_part("programs", [1]))
    for part in serialization.unpack(atomic_file.read(honest)):
        if part not in ("cursor", "extra", "step", "written_by"):
            for value in (None, 3, "text", [[]], {"a": {"b": 1}}, [{"class": 1}]):
                if whole_states[part] != value and (part, type(value)) != ("metadata", dict):
                    yield f"{part} is {value}", whole_file(with_part(part, value))

    for rank, blob in ((1, 4), (12, 4)):
        shape = [10**12, *[1] * (rank - 1)]
        for where in ("cursor", "model"):
            tensor = {"T": ["float32", 0, shape, [1] * rank, False]}
            yield (
                f"an expanded tensor of rank {rank}, as {where}",
                whole_file(tree({"d": [[where, tensor]]}, [blob])),
            )
    wide = {"T": ["float32", 0, [10**12], [10**12], False]}
    yield "a tensor of 10^12", whole_file(tree({"d": [["cursor", wide]]}, [4 * 10**12]))
    yield "a tensor of 10^12 in few bytes", whole_file(tree({"d": [["cursor", wide]]}, [64]))
    yield (
        "many wide tensors from one",
        whole_file(
            tree({"d": [["cursor", [{"T": ["float32", 0, [1 << 22], [1], False]}] * 200]]}, [4])
        ),
    )
    for value in (
        ["float32", -1, [1], [1], False], ["float32", 7, [1], [1], False],
        ["float32", 0, [1, 2], [1], False], ["float32", 0, [-1], [-1], False],
        ["float32", 0, [2**70], [1], False], ["load", 0, [1], [1], False],
        ["__class__", 0, [1], [1], False], [["a"], 0, [1], [1], False], [], None, [1] * 9,
        ["float64", 0, [1], [1], False], ["quint8", 0, [64], [64], False],
        ["int8", 0, [64], [64], True], ["float32", 0, "a", "a", 0],
    ):  # fmt: skip
        yield f"a tensor {value}", whole_file(tree({"d": [["cursor", {"T": value}]]}, [64]))
    for node in (
        {"i": "0x" + "f" * 10}, {"x": 1}, {"c": [1]}, {"c": ["a", {}]}, {"b": "?"}, {"s": ["a"]},
        {"s": [-1]}, {"y": "float"}, {"y": "nn"}, {"d": [[[], 1]]}, {"d": [1]}, {"o": [[1]]}, {},
        {"a": 1, "b": 2}, {"t": 3}, {"d": [[{"d": []}, 1]]},
    ):  # fmt: skip
        yield f"a node {node}", whole_file(tree({"d": [["cursor", node]]}))
    yield "a deep tree", whole_file(struct.pack("<Q", 100_000) + b"[" * 100_000)
    yield "a tree of many lists", whole_file(tree([[]] * 300_000))
    yield "a long tree", whole_file(tree(None, length=2**63))
    yield "a number with many digits", whole_file(struct.pack("<Q", 100_000) + b"9" * 100_000)
    yield "blobs that are none", whole_file(tree(None, [-64]))
    yield "no payload", whole_file(b"")

    yield "an earlier release's pickle", whole_file(of_tensors(Executed(folder)), 1)
    stretched = torch.zeros(1).as_strided([1 << 34], [0])
    yield "an earlier release's expanded tensor", whole_file(of_tensors({"a": stretched}), 1)
    deflated = _archive("a/data/0", bytes(1 << 20), 1500)
    yield "an earlier release's deflated tensor", whole_file(deflated, 1)
    yield "tensors in this format", whole_file(of_tensors(Executed(folder)))
    yield "a pickle", pickle.dumps(Executed(folder))


# -- the process that reads them -----------------------------------------------------------------


def readers(folder):
    """Yield every file, and what reads it."""
    honest = folder / "honest"
    ours = model()
    save_checkpoint(honest, model=ours)
    program = ours[1].program
    text = program.to_state()["program"]
    hostile = folder / "hostile"

    for name, data in circuits(folder / "executed"):
        yield name, partial(CircuitProgram.from_state, {"circuit": data, "program": text})
        named = json.dumps([base64.b64encode(data).decode(), text, "statevector", "complex128"])
        yield f"{name}, exported", partial(node_named, EXACT + named)
        old = {"weight": ours[1].weight, "_extra_state": {"version": 1, "program": text}}
        old["_extra_state"]["circuit"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        yield f"{name}, in an earlier state dict", partial(ours[1].load_state_dict, old)
    for name, data in checkpoints(folder / "executed", honest):
        hostile.write_bytes(data)
        yield name, partial(load_checkpoint, hostile, model=ours)
    with open(hostile, "wb") as file:  # a hole: it takes no room on the disk
        file.write(atomic_file.HEADER.pack(atomic_file.MAGIC, atomic_file.VERSION, HUGE, bytes(32)))
        file.truncate(HUGE + atomic_file.HEADER.size)
    yield "a file of a tebibyte", partial(load_checkpoint, hostile, model=ours)


def main(folder):
    """Read them all."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    model()(torch.ones(1, 1)).sum().backward()  # compiles, and loads what is loaded once
    page = resource.getpagesize()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * page
    resource.setrlimit(resource.RLIMIT_AS, (taken + ALLOWED,) * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, read in readers(folder):
        found = message = "accepted"
        try:
            read()
        except BaseException as error:
            found, message = type(error).__name__, str(error)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([name, found, message[:600], grown >> 10]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
