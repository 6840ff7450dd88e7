// Package pacing holds the gate against scripted links: models of a vendor's
// limits, and a fleet of workers that asks the gate for calls as the product's
// dispatcher does, both in virtual time.
//
// Invariant: a run is decided by its scenario and its seed alone. It is one
// goroutine, no clock of a machine is read, the gate included (gate.Config.Clock),
// and every chance has a seeded source of its own; so a run can be repeated
// call by call, and takes as long as the gate's scripts do.
//
// It is a proof and a drawing board, no part of the product: it sends nothing,
// knows no jobs, and says nothing about how long a program takes for its work.
package pacing
