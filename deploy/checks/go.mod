module crier/deploy/checks

go 1.26.0

require crier v0.0.0

replace crier => ../..
