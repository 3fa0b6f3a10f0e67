# SPDX-License-Identifier: Apache-2.0
"""Make the molecules' Hamiltonians anew: python benchmarks/data/generate.py

Needs ``requirements/chemistry.txt``. PySCF solves Hartree-Fock in the basis STO-3G and gives the
integrals over molecular orbitals, nothing frozen; OpenFermion maps them to qubits by Jordan and
Wigner. Qubit 2k is the spin-up and qubit 2k + 1 the spin-down orbital k.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from openfermion import InteractionOperator, jordan_wigner
from openfermion.chem.molecular_data import spinorb_from_spatial
from pyscf import ao2mo, gto, scf

FOLDER = Path(__file__).parent
# Angstrom, near equilibrium: Li-H 1.5957; O-H 0.9584 with an angle of 104.45 degrees.
MOLECULES = {
    "lih": ("LiH", "Li 0 0 0; H 0 0 1.5957"),
    "h2o": ("H2O", "O 0 0 0; H 0.757605 0.586990 0; H -0.757605 0.586990 0"),
}
SMALLEST = 1e-10  # coefficients below are rounding


def hamiltonian(atoms: str) -> tuple[float, int, list[tuple[str, list[int], float]]]:
    """Return the Hartree-Fock energy in Hartree, the number of qubits and the terms."""
    molecule = gto.M(atom=atoms, basis="sto-3g", verbose=0)
    field = scf.RHF(molecule).set(conv_tol=1e-12)
    energy = field.kernel()
    orbitals = field.mo_coeff
    size = orbitals.shape[1]
    one_body = orbitals.T @ field.get_hcore() @ orbitals
    two_body = ao2mo.restore(1, ao2mo.kernel(molecule, orbitals), size)  # (pq|rs)
    one, two = spinorb_from_spatial(one_body, np.transpose(two_body, (0, 2, 3, 1)))
    operator = jordan_wigner(InteractionOperator(molecule.energy_nuc(), one, two / 2))
    terms = [
        ("".join(letter for _, letter in word), [q for q, _ in word], float(coefficient.real))
        for word, coefficient in operator.terms.items()
        if abs(coefficient) > SMALLEST
    ]
    terms.sort(key=lambda term: (len(term[0]), term[1], term[0]))
    occupied = range(molecule.nelectron)  # Hartree-Fock's state: the lowest orbitals are filled
    check = sum(
        c * (-1) ** sum(q in occupied for q in qubits) for w, qubits, c in terms if set(w) <= {"Z"}
    )
    assert abs(check - energy) < 1e-8, (check, energy)
    return float(energy), 2 * size, terms


def main() -> None:
    """Write one file per molecule."""
    for name, (formula, atoms) in MOLECULES.items():
        energy, qubits, terms = hamiltonian(atoms)
        head = {"molecule": formula, "geometry": atoms, "basis": "sto-3g", "energy": energy}
        lines = ",\n".join(f" {json.dumps(term)}" for term in terms)
        text = json.dumps(head | {"qubits": qubits, "terms": []}, indent=1)
        text = text.replace('"terms": []', f'"terms": [\n{lines}\n]')
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{formula}: {qubits} qubits, {len(terms)} terms, Hartree-Fock {energy:.8f} Hartree")


if __name__ == "__main__":
    main()
