// Package chart holds the Helm chart against Kubernetes' own types: rendered by
// Helm's engine, decoded strictly, and compared with what the programs take.
//
// It is a module of its own for the sake of noclient: an empty client-go, which
// Helm's engine asks for to look into a cluster. Nothing is looked up here, and
// the real one takes minutes to compile.
package chart
